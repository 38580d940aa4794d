package uplink

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/frame"
)

// A datagramIn is a datagram or echo reply for an endpoint. l4 begins with room for
// the UDP header. With a size it is several datagrams, each but the last of size
// bytes behind that header.
type datagramIn struct {
	proto    uint8
	src, dst netip.AddrPort
	ttl      uint8
	l4       []byte
	size     int
}

// several reports whether there are more datagrams than one.
func (d *datagramIn) several() bool { return d.size > 0 && len(d.l4)-8 > d.size }

// first returns the length of the first one's transport part.
func (d *datagramIn) first() int {
	if d.several() {
		return 8 + d.size
	}
	return len(d.l4)
}

// header writes all headers of a frame that holds the datagram. The checksum of
// UDP is left to the receiver, as kernels do.
func (d *datagramIn) header(f *frame.Frame, to, from frame.MAC) {
	b := f.Bytes()
	ip := b[frame.EtherLen:]
	d.ip(b, to, from)
	if d.proto != frame.ProtoUDP {
		d.finish()
		return
	}
	d.udp()
	l4 := len(ip) - len(d.l4)
	binary.BigEndian.PutUint16(d.l4[6:], frame.Fold(pseudoSum(ip, d.proto, len(d.l4))))
	f.Offload = frame.Offload{Flags: frame.NeedsCsum, CsumStart: uint16(frame.EtherLen + l4), CsumOffset: 6}
	if d.several() {
		f.Offload.GSO, f.Offload.Size, f.Offload.HdrLen = frame.GSOUDP, uint16(d.size), uint16(frame.EtherLen+l4+8)
	}
}

func (d *datagramIn) ip(b []byte, to, from frame.MAC) {
	if d.dst.Addr().Is4() {
		putEther(b, to, from, frame.EtherIPv4)
		putIPv4(b[frame.EtherLen:], d.src.Addr(), d.dst.Addr(), d.proto, d.ttl, len(d.l4), 0)
		return
	}
	putEther(b, to, from, frame.EtherIPv6)
	putIPv6(b[frame.EtherLen:], d.src.Addr(), d.dst.Addr(), d.proto, d.ttl, len(d.l4))
}

func (d *datagramIn) udp() {
	binary.BigEndian.PutUint16(d.l4, d.src.Port())
	binary.BigEndian.PutUint16(d.l4[2:], d.dst.Port())
	binary.BigEndian.PutUint16(d.l4[4:], uint16(len(d.l4)))
	d.l4[6], d.l4[7] = 0, 0
}

// finish completes the transport header, with its checksum. An echo reply gets the
// endpoint's identifier back.
func (d *datagramIn) finish() {
	field := d.l4[2:4]
	if d.proto == frame.ProtoUDP {
		d.udp()
		field = d.l4[6:8]
	} else {
		binary.BigEndian.PutUint16(d.l4[4:], d.dst.Port())
	}
	field[0], field[1] = 0, 0
	sum := uint64(0)
	if d.proto != frame.ProtoICMP {
		sum = uint64(d.proto) + uint64(len(d.l4))
		src, dst := d.src.Addr().AsSlice(), d.dst.Addr().AsSlice()
		sum = frame.Sum(dst, frame.Sum(src, sum))
	}
	c := frame.Checksum(d.l4, sum)
	if c == 0 && d.proto == frame.ProtoUDP {
		c = 0xffff // zero means none: RFC 768
	}
	binary.BigEndian.PutUint16(field, c)
}

func echoReply(proto uint8) uint8 {
	if proto == frame.ProtoICMP {
		return 0
	}
	return 129
}
