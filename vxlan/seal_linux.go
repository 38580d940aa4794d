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
// A run that is sent again is sealed again, by new numbers.
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
	head := &tx.head
	binary.BigEndian.PutUint16(head[0:], Port) // nobody on the way could choose a path by it
	binary.BigEndian.PutUint16(head[2:], Port)
	binary.BigEndian.PutUint16(head[4:], uint16(n))
	// No checksum: the ICV is more (RFC 3948, 3.1.2; for IPv6 RFC 6935).
	head[6], head[7] = 0, 0
	PutHeader(head[8:], tx.vni)
	size, r := tx.sealer.Seal(tx.by, tx.arena[tx.used:], ipsec.NextUDP, head[:], f.Bytes())
	if r != frame.NotDropped {
		return nil
	}
	packet := tx.arena[tx.used : tx.used+size]
	tx.used += size
	return packet
}
