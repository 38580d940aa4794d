package vxlan

import (
	"encoding/binary"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: the open step
//
// On a socket for ESP every datagram is opened where it lies, before anything in it
// is looked at. The peer is the one whose SA opened it, not the one whose address it
// came from: the address is nobody's proof. Then follows the decap step, as for what
// comes in clear, with the routes of encrypted networks alone.
//
// What holds no frame (keepalives, dummy packets, what is behind the non-ESP marker)
// is counted and not dropped, for it did what it was sent for.

// unseal is the open step. It returns what VXLAN's datagram would have held and where
// that lies in the packet, 0 if there is no more to do.
func (rx *Reader) unseal(packet []byte) (datagram []byte, at int) {
	packet, at, held := rx.strip(packet)
	if !held {
		return nil, 0
	}
	got, r := rx.opener.Open(rx.sas, rx.sender.Addr(), packet)
	switch {
	case r == frame.NotDropped && got.Next == ipsec.NextNone:
		rx.counters.control.Add(1)
		return nil, 0
	case r == frame.NotDropped && (got.Next != ipsec.NextUDP || !isVXLAN(got.Payload)):
		r = frame.BadESP
	}
	if r != frame.NotDropped {
		rx.counters.drops[r].Add(1)
		return nil, 0
	}
	if got.SA != rx.sa {
		rx.sa, rx.known = got.SA, false
		rx.peer = rx.table.opened(got.SA.Peer())
	}
	return got.Payload[udpLen:], at + ipsec.PayloadOffset + udpLen
}

// strip leaves out what is in front of an ESP packet, at bytes, or takes what is none.
func (rx *Reader) strip(packet []byte) (esp []byte, at int, held bool) {
	if rx.socket.cfg.Raw {
		if !rx.socket.addr.Addr().Is4() {
			return packet, 0, true
		}
		n, r := ipv4Header(packet)
		if r != frame.NotDropped {
			rx.counters.drops[r].Add(1)
			return nil, 0, false
		}
		return packet[n:], n, true
	}
	switch ipsec.Classify(packet) {
	case ipsec.KindKeepalive:
		rx.counters.control.Add(1)
		return nil, 0, false
	case ipsec.KindMarked:
		rx.counters.control.Add(1)
		if take := rx.socket.cfg.Marked; take != nil {
			take(rx.sender, packet[4:])
		}
		return nil, 0, false
	}
	return packet, 0, true
}

// isVXLAN reports whether a payload is one UDP datagram to VXLAN's port.
func isVXLAN(b []byte) bool {
	return len(b) >= udpLen && binary.BigEndian.Uint16(b[2:]) == Port && int(binary.BigEndian.Uint16(b[4:])) == len(b)
}
