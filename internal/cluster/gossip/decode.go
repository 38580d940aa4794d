package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

var (
	errFormat    = errors.New("message of another format version")
	errTruncated = errors.New("message ends early")
)

// A reader takes a message apart. Every length is held against what is left before
// anything is copied, so a message costs at most a small multiple of its size. The
// first error stays.
type reader struct {
	b   []byte
	err error
}

// decode reads a message. Nothing of b is kept.
func decode(b []byte) (*message, error) {
	if len(b) < 2 {
		return nil, errTruncated
	}
	if b[0] != formatVersion {
		return nil, fmt.Errorf("%w: expected %d, found %d", errFormat, formatVersion, b[0])
	}
	m := &message{kind: kind(b[1])}
	r := &reader{b: b[2:]}
	m.from = r.id("sender")
	m.network = r.text("network", 0, MaxID)
	switch m.kind {
	case kindRows:
		m.rows = r.rows(m.network)
	case kindSum:
		m.sum = r.sum()
	case kindDigest:
		for r.more() {
			m.digests = append(m.digests, ownerDigest{r.id("owner"), r.sum()})
		}
	case kindVersions:
		for r.more() {
			m.versions = append(m.versions, r.versions())
		}
	case kindWant:
		for r.more() {
			m.want = append(m.want, rowKey{r.id("owner"), r.text("key", 1, MaxKey)})
		}
	case kindRequest:
		m.id, m.answerTo = r.number(), r.address()
	case kindReply:
		m.id, m.index, m.total = r.number(), r.number(), r.number()
		if r.err == nil && m.index >= m.total {
			return nil, fmt.Errorf("part %d of %d", m.index, m.total)
		}
		m.rows = r.rows(m.network)
	default:
		return nil, fmt.Errorf("message of unknown kind %d", b[1])
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes after the end", len(r.b))
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// more reports whether another item follows.
func (r *reader) more() bool { return r.err == nil && len(r.b) > 0 }

func (r *reader) rows(network string) (rows []Row) {
	for r.more() {
		w := Row{Network: network, Owner: r.id("owner"), Key: r.text("key", 1, MaxKey), Version: r.version()}
		switch flags := r.byte(); flags {
		case 0:
			w.Value = []byte(r.text("value", 0, MaxValue))
		case 1:
			w.Deleted = true
		default:
			r.fail(fmt.Errorf("row with flags %#x", flags))
		}
		rows = append(rows, w)
	}
	return rows
}

func (r *reader) versions() ownerVersions {
	v := ownerVersions{owner: r.id("owner")}
	n := r.number()
	if r.err == nil && n > uint64(len(r.b)) {
		r.fail(errTruncated)
	}
	for ; n > 0 && r.err == nil; n-- {
		v.rows = append(v.rows, r.keyVersion())
	}
	return v
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *reader) sum() uint64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// take returns the next n bytes, or nil when there are fewer.
func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(errTruncated)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) number() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errTruncated)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) keyVersion() keyVersion {
	k := keyVersion{key: r.text("key", 1, MaxKey)}
	v := r.number()
	k.version, k.deleted = r.bounded(v>>1), v&1 != 0
	return k
}

func (r *reader) version() uint64 { return r.bounded(r.number()) }

func (r *reader) bounded(v uint64) uint64 {
	if r.err == nil && (v == 0 || v > maxVersion) {
		r.fail(fmt.Errorf("version %d, expected 1 to %d", v, uint64(maxVersion)))
	}
	return v
}

func (r *reader) address() netip.AddrPort {
	a, err := netip.ParseAddrPort(r.text("address", 1, 64))
	if err != nil {
		r.fail(fmt.Errorf("address: %w", err))
	}
	return a
}

func (r *reader) id(what string) string { return r.text(what, 1, MaxID) }

// text reads a string of least to most bytes.
func (r *reader) text(what string, least, most int) string {
	n := r.number()
	if r.err == nil && (n < uint64(least) || n > uint64(most)) {
		r.fail(fmt.Errorf("%s of %d bytes, expected %d to %d", what, n, least, most))
	}
	if r.err != nil {
		return ""
	}
	return string(r.take(int(n)))
}
