package uplink

import (
	"encoding/binary"

	"weft/internal/frame"
)

// A fragments is a datagram for an endpoint that does not fit the network's MTU,
// and leaves as fragments (RFC 791, 2.3; RFC 8200, 4.5); or several of one size. One
// such at a time, in memory of its own, for a batch may have no room for all of
// them.
type fragments struct {
	datagramIn // the one that is being cut, its transport header complete
	to, from   frame.MAC
	memory     []byte // of all
	rest       []byte // payload of the datagrams behind this one
	cut        []byte // the one, as a whole
	at, hold   int    // the next fragment, and how much each but the last holds
	id         uint32
}

// some reports whether there are any left.
func (s *fragments) some() bool { return s.at < len(s.l4) || len(s.rest) > 0 }

// begin takes in what was received.
func (s *fragments) begin(d *datagramIn, to, from frame.MAC, mtu int) {
	s.datagramIn, s.to, s.from = *d, to, from
	s.memory = append(s.memory[:0], d.l4...)
	if s.hold = mtu - 20; d.dst.Addr().Is6() {
		s.hold = mtu - 40 - 8
	}
	s.hold &^= 7
	s.l4, s.rest = s.memory, nil
	if d.several() {
		s.l4, s.rest = nil, s.memory[8:]
		s.next()
		return
	}
	s.at, s.id = 0, s.id+1
	s.finish()
}

// next goes on to the next of several datagrams.
func (s *fragments) next() {
	n := min(s.size, len(s.rest))
	s.cut = append(append(s.cut[:0], 0, 0, 0, 0, 0, 0, 0, 0), s.rest[:n]...)
	s.l4, s.rest = s.cut, s.rest[n:]
	s.at, s.id = 0, s.id+1
	s.finish()
}

// put appends as many to the batch as find room.
func (s *fragments) put(b *frame.Batch) {
	for s.some() {
		if s.at == len(s.l4) {
			s.next()
		}
		slot := b.Reserve()
		if slot == nil {
			return
		}
		part := s.l4[s.at:min(s.at+s.hold, len(s.l4))]
		last := s.at+len(part) == len(s.l4)
		fr := slot[frame.Headroom:]
		ip := fr[frame.EtherLen:]
		head := 20
		if s.dst.Addr().Is4() {
			putEther(fr, s.to, s.from, frame.EtherIPv4)
			s.put4(ip, len(part), last)
		} else {
			head = 48
			putEther(fr, s.to, s.from, frame.EtherIPv6)
			s.put6(ip, len(part), last)
		}
		copy(ip[head:], part)
		b.Commit(frame.EtherLen + head + len(part))
		s.at += len(part)
	}
}

func (s *fragments) put4(ip []byte, n int, last bool) {
	word := uint16(s.at / 8)
	if !last {
		word |= 0x2000
	}
	putIPv4(ip, s.src.Addr(), s.dst.Addr(), s.proto, s.ttl, n, word)
	binary.BigEndian.PutUint16(ip[4:], uint16(s.id))
	frame.SetIPv4Checksum(ip[:20])
}

func (s *fragments) put6(ip []byte, n int, last bool) {
	putIPv6(ip, s.src.Addr(), s.dst.Addr(), 44, s.ttl, 8+n)
	h := ip[40:]
	h[0], h[1] = s.proto, 0
	word := uint16(s.at)
	if !last {
		word |= 1
	}
	binary.BigEndian.PutUint16(h[2:], word)
	binary.BigEndian.PutUint32(h[4:], s.id)
}
