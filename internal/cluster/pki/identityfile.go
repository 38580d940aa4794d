package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Theory of operation: an identity on disk
//
// One file holds all of an identity, so that a renewal replaces all of it or
// nothing. The first line is identityHeader with the CRC-32C of what follows: PEM
// blocks, the private key, the node's chain, the roots. A root is told from the
// chain by being self-signed. The checksum finds a file cut off between two blocks,
// which would be a good one that trusts less.
//
// It is written beside itself, synced and renamed; a file that is left from a write
// that was cut short is replaced by the next. Mode 0600; a file others may read is
// refused, as a key that got about is none.

const (
	identityName   = "identity.pem"
	identityHeader = "weft identity 1 crc32c %08x\n"
	headerLen      = len("weft identity 1 crc32c 01234567\n")
	maxIdentity    = 256 << 10 // bytes; a few thousand are usual
)

// Save writes the identity into dir, in place of the one there.
func (id *Identity) Save(dir string) error {
	text, err := id.encode()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, identityName)
	if err := replace(path, text); err != nil {
		return fmt.Errorf("save the node's identity: %w", err)
	}
	return nil
}

// LoadIdentity reads the identity in dir. The error is fs.ErrNotExist when there is
// none; a torn file, one of something else or one that others may read is refused,
// with its path.
func LoadIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, identityName)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the node's identity: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the node's identity: %w", err)
	}
	if m := st.Mode(); m.IsRegular() && m.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the node's identity %s has mode %04o, 0600 expected: it contains a private key others can read; `chmod 600 %s` if nobody did, else leave the swarm and join again", path, m.Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIdentity+1))
	if err != nil {
		return nil, fmt.Errorf("the node's identity: %w", err)
	}
	id, err := decodeIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("the node's identity %s cannot be used: %w; restore it from a backup, or move it away and join the swarm again", path, err)
	}
	return id, nil
}

// RemoveIdentity removes the identity in dir, if there is one.
func RemoveIdentity(dir string) error {
	err := os.Remove(filepath.Join(dir, identityName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the node's identity: %w", err)
	}
	return nil
}

// encode returns the file of an identity.
func (id *Identity) encode() ([]byte, error) {
	body, err := encodeKey(id.key)
	if err != nil {
		return nil, err
	}
	body = append(body, encodeCertificates(id.chain...)...)
	body = append(body, encodeCertificates(id.roots...)...)
	return append(fmt.Appendf(nil, identityHeader, checksum(body)), body...), nil
}

// decodeIdentity is the inverse of encode.
func decodeIdentity(text []byte) (*Identity, error) {
	if len(text) > maxIdentity {
		return nil, fmt.Errorf("more than %d bytes", maxIdentity)
	}
	body := text[min(headerLen, len(text)):]
	switch header := text[:len(text)-len(body)]; {
	case !bytes.HasPrefix(header, []byte("weft identity ")):
		return nil, errors.New("not an identity of weft, or its beginning is lost")
	case !bytes.HasPrefix(header, []byte("weft identity 1 ")):
		return nil, fmt.Errorf("header %q found, version 1 expected: was it written by a newer weft?", header)
	case string(header) != fmt.Sprintf(identityHeader, checksum(body)):
		return nil, fmt.Errorf("header %q found, checksum %08x expected: torn or changed", header, checksum(body))
	}
	block, rest := pem.Decode(body)
	if block == nil {
		return nil, errors.New("no private key")
	}
	key, err := parseKey(body[:len(body)-len(rest)])
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	var chain, roots []*x509.Certificate
	for rest = bytes.TrimSpace(rest); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, errors.New("something follows the certificates")
		}
		c, err := parseOne(rest[:len(rest)-len(after)])
		if err != nil {
			return nil, err
		}
		if rest = after; selfSigned(c) {
			roots = append(roots, c)
		} else {
			chain = append(chain, c)
		}
	}
	if len(chain) == 0 || len(roots) == 0 || len(chain) > maxChain || len(roots) > maxChain {
		return nil, fmt.Errorf("%d certificates of the node and %d roots found, 1 to %d of each expected", len(chain), len(roots), maxChain)
	}
	return newIdentity(key, chain, roots)
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// replace writes a file of mode 0600 in place of the one at path: after a crash
// there is one of the two, whole.
func replace(path string, text []byte) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
