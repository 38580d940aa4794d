package gossip

import (
	"encoding/binary"
	"net/netip"
)

// The wire format. A message lies in one memberlist user message, which memberlist
// seals; integers are unsigned varints, and a string or a value is its length and
// its bytes.
//
//	byte   formatVersion
//	byte   kind
//	string node id of the sender
//	string network; empty for the cluster's own table
//	...    by kind:
//
//	rows      row until the end
//	sum       8 bytes
//	digest    {string owner, 8 bytes sum} until the end
//	versions  {string owner, n, n times {string key, version<<1 | deleted}} until the end
//	want      {string owner, string key} until the end
//	request   id, string address and port to answer to
//	reply     id, index, total, then row until the end
//
//	row       string owner, string key, version, byte flags (bit 0: deleted),
//	          value unless deleted
//
// A message of another format version is dropped and counted.
const formatVersion = 1

type kind uint8

const (
	kindRows     kind = 1 + iota // rows to merge
	kindDigest                   // "this is what I have, by owner": answered with versions where it differs
	kindVersions                 // "these owners differ, this is mine": answered with rows and want
	kindWant                     // "send me these"
	kindRequest                  // "send me all you have of the network"
	kindReply                    // part index of total of an answer to a request
	kindSum                      // "this is what I have, in one number": answered with a digest if it differs
)

// A message is any of them; the fields its kind does not have are empty.
type message struct {
	kind          kind
	from, network string
	rows          []Row // their Network is the message's
	sum           uint64
	digests       []ownerDigest
	versions      []ownerVersions
	want          []rowKey
	id            uint64
	answerTo      netip.AddrPort
	index, total  uint64
}

func (m *message) encode() []byte {
	b := []byte{formatVersion, byte(m.kind)}
	b = putString(b, m.from)
	b = putString(b, m.network)
	switch m.kind {
	case kindSum:
		b = binary.BigEndian.AppendUint64(b, m.sum)
	case kindDigest:
		for _, d := range m.digests {
			b = binary.BigEndian.AppendUint64(putString(b, d.owner), d.sum)
		}
	case kindVersions:
		for _, v := range m.versions {
			b = putVersions(b, v)
		}
	case kindWant:
		for _, w := range m.want {
			b = putString(putString(b, w.owner), w.key)
		}
	case kindRequest:
		b = putString(binary.AppendUvarint(b, m.id), m.answerTo.String())
	case kindReply:
		b = binary.AppendUvarint(b, m.id)
		b = binary.AppendUvarint(b, m.index)
		b = binary.AppendUvarint(b, m.total)
	}
	for _, r := range m.rows {
		b = putRow(b, r)
	}
	return b
}

func putRow(b []byte, r Row) []byte {
	b = putString(b, r.Owner)
	b = putString(b, r.Key)
	b = binary.AppendUvarint(b, r.Version)
	if r.Deleted {
		return append(b, 1)
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(r.Value)))
	return append(b, r.Value...)
}

func putVersions(b []byte, v ownerVersions) []byte {
	b = binary.AppendUvarint(putString(b, v.owner), uint64(len(v.rows)))
	for _, r := range v.rows {
		v := r.version << 1
		if r.deleted {
			v |= 1
		}
		b = binary.AppendUvarint(putString(b, r.key), v)
	}
	return b
}

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// rowSize is an upper bound of what a row takes in a message, in bytes.
func rowSize(r Row) int { return len(r.Owner) + len(r.Key) + len(r.Value) + 2 + 2 + 10 + 1 + 3 }

// versionsSize is the same for a list of versions.
func versionsSize(v ownerVersions) int {
	n := len(v.owner) + 2 + 10
	for _, r := range v.rows {
		n += len(r.key) + 2 + 10
	}
	return n
}

// chunk cuts a list into pieces of at most limit bytes each, or of one item.
func chunk[T any](items []T, size func(T) int, limit int) [][]T {
	var out [][]T
	start, n := 0, 0
	for i, it := range items {
		s := size(it)
		if i > start && n+s > limit {
			out = append(out, items[start:i])
			start, n = i, 0
		}
		n += s
	}
	if start < len(items) {
		out = append(out, items[start:])
	}
	return out
}
