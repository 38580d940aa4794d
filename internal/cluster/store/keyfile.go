package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"weft/internal/cnm"
)

// Theory of operation: keys at rest
//
// A manager seals its log and its snapshots with a data key of its own, 32 random
// bytes that never leave it. The key lies in a file beside the log: as it is, or,
// when the swarm is locked, sealed with the unlock key, so that neither disk nor
// backup of the directory is worth anything without that. Locking, unlocking and
// a new unlock key rewrite this one small file and nothing else; Store does it by
// itself when the cluster's settings change. The file has the version of the state
// that it follows: a manager that starts goes through older ones again, which must
// not bring an old unlock key back.

const (
	keyName       = "cluster.key"
	keyFormat     = "weft manager key, version 1"
	unlockPrefix  = "SWMKEY-1-" // Docker's
	unlockKeySize = 32
)

// ErrLocked says that a manager's store is sealed, and that the unlock key is
// missing or not the right one.
var ErrLocked = errors.New("swarm is encrypted and needs to be unlocked before it can be used: use \"weft swarm unlock\" with the unlock key")

// A keyFile holds one of its two keys.
type keyFile struct {
	Format string
	State  uint64 // State.Version
	Key    []byte `json:",omitempty"`
	Sealed []byte `json:",omitempty"` // nonce and key under the unlock key
}

// NewUnlockKey returns a fresh key to unlock managers with, in Docker's form.
func NewUnlockKey() string {
	var k [unlockKeySize]byte
	rand.Read(k[:]) // never fails: crypto/rand crashes the program instead
	return unlockPrefix + base64.RawStdEncoding.EncodeToString(k[:])
}

// unlocker returns what seals the data key. The unlock key has all the entropy
// that is needed; the hash keeps it apart from other uses.
func unlocker(unlockKey string) (cipher.AEAD, error) {
	text, found := strings.CutPrefix(unlockKey, unlockPrefix)
	k, err := base64.RawStdEncoding.DecodeString(text)
	if !found || err != nil || len(k) != unlockKeySize {
		return nil, cnm.Errorf(cnm.Invalid, "invalid unlock key: expected %s and %d characters", unlockPrefix, base64.RawStdEncoding.EncodedLen(unlockKeySize))
	}
	sum := sha256.Sum256(append([]byte("weft unlock"), k...))
	return newSeal(sum[:])
}

func newSeal(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newNonce returns a random nonce with room for what is sealed with it.
func newNonce(room int) []byte {
	n := make([]byte, nonceSize, max(room, nonceSize))
	rand.Read(n)
	return n
}

// A dataKey is a manager's data key, and the version of the state that its file
// follows.
type dataKey struct {
	key   []byte
	state uint64
}

// openKey reads the data key in dir, or makes one when the directory is new. It
// returns [ErrLocked] when the key is sealed and unlockKey does not open it.
func openKey(dir, unlockKey string) (k dataKey, err error) {
	path := filepath.Join(dir, keyName)
	doc, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, logName)); err == nil {
			return k, fmt.Errorf("manager key %s is missing, and %s cannot be read without it: put it back", path, logName)
		}
		k.key = make([]byte, 32)
		rand.Read(k.key)
		return k, writeKey(dir, k, unlockKey)
	}
	if err != nil {
		return k, fmt.Errorf("manager key: %w", err)
	}
	var f keyFile
	if err := strict(doc, &f); err != nil || f.Format != keyFormat || len(f.Key) != 32 && len(f.Sealed) == 0 {
		return k, fmt.Errorf("manager key %s cannot be used: it is torn or of another program; put back the one that belongs to %s", path, logName)
	}
	k = dataKey{f.Key, f.State}
	if f.Sealed == nil {
		return k, nil
	}
	if unlockKey == "" {
		return k, ErrLocked
	}
	u, err := unlocker(unlockKey)
	if err != nil {
		return k, err
	}
	k.key, err = unseal(u, f.Sealed, []byte(keyName), nil)
	if err != nil || len(k.key) != 32 {
		return k, fmt.Errorf("%w: this one does not fit", ErrLocked)
	}
	return k, nil
}

// writeKey writes the data key to dir, sealed unless unlockKey is empty.
func writeKey(dir string, k dataKey, unlockKey string) error {
	f := keyFile{Format: keyFormat, State: k.state, Key: k.key}
	if unlockKey != "" {
		u, err := unlocker(unlockKey)
		if err != nil {
			return err
		}
		f.Key, f.Sealed = nil, sealed(u, k.key, []byte(keyName), nil)
	}
	doc, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, keyName), func(w io.Writer) error {
		_, err := w.Write(doc)
		return err
	})
}

// writeFile writes a file as a whole or not at all.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
