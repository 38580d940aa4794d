package vxlan

import (
	"encoding/binary"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: the seal step
//
// On a socket for ESP a datagram holds an ESP packet, whose payload is the UDP
// datagram that VXLAN would have been by itself (transport mode, RFC 4303, 3.1.1).
// A frame is sealed into the sender's own memory, as it is put into a message: the
// frame's bytes are only read, so that one that goes to several VTEPs is sealed for
// each, and neighbours of one size stand behind one another for the kernel to cut.
// Headers and trailer go into the room around the frame, where it has room behind it,
// so that there is one range to be sealed; else, as with a frame that is lent, they are
// copied together. A run that is sent again is sealed again, by new numbers.
//
// Without a key nothing leaves: the link refuses every frame.

// prepareSeal chooses the SA that the frames are sealed by, and has room for them.
func (tx *sender) prepareSeal(l *Link, fs []*frame.Frame) error {
	tx.by = l.keys.Outbound(tx.worker)
	if tx.by == nil || tx.by.Left() < uint64(2*len(fs)) { // some are sealed twice
		return ErrNoKey
	}
	room := 0
	for _, f := range fs {
		room += tx.length(f)
	}
	if room > len(tx.arena) {
		tx.arena = make([]byte, room)
	}
	tx.vni = l.vni
	return nil
}

// seal returns the packet that holds a frame, nil if none does.
func (tx *sender) seal(f *frame.Frame) []byte {
	n := sealedHeaders + f.Len()
	if n > ipsec.MaxPacket {
		return nil
	}
	dst, length := tx.arena[tx.used:], f.Len()
	var size int
	var r frame.Reason
	if f.Grow(ipsec.TrailerLen(n)) {
		src := f.Head(sealedHeaders)
		f.Truncate(length)
		tx.putHeaders(src, n)
		size, r = tx.sealer.SealFrom(tx.by, dst, src, ipsec.NextUDP, n)
	} else {
		tx.putHeaders(tx.head[:], n)
		size, r = tx.sealer.Seal(tx.by, dst, ipsec.NextUDP, tx.head[:], f.Bytes())
	}
	if r != frame.NotDropped {
		return nil
	}
	packet := tx.arena[tx.used : tx.used+size]
	tx.used += size
	return packet
}

// putHeaders writes the headers of a datagram of n bytes.
func (tx *sender) putHeaders(b []byte, n int) {
	binary.BigEndian.PutUint16(b[0:], Port) // nobody on the way could choose a path by it
	binary.BigEndian.PutUint16(b[2:], Port)
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	// No checksum: the ICV is more (RFC 3948, 3.1.2; for IPv6 RFC 6935).
	b[6], b[7] = 0, 0
	PutHeader(b[8:], tx.vni)
}
