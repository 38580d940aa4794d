package cli

import (
	"math"
	"math/bits"

	"weft/internal/capture"
)

// An ngPort is what an interface block says about its packets.
type ngPort struct {
	name    string
	link    capture.LinkType
	snaplen uint32
	resol   uint8 // if_tsresol: a negative power of ten, of two with the top bit
	offset  int64 // if_tsoffset, seconds
	fcs     int   // bytes of frame check sequence behind each frame
}

// An ngPacketView is what the text output shows of a packet.
type ngPacketView struct {
	iface    uint32
	nanos    int64
	origLen  int
	data     []byte // borrowed: of the block
	flags    uint32
	comments []string
}

// addPort reads an interface block (4.2 of the draft).
func (n *ngReader) addPort(body []byte) error {
	if len(n.ports) == ngMaxPorts {
		return n.damaged("more than %d interfaces in one section", ngMaxPorts)
	}
	if len(body) < 8 {
		return n.damaged("interface block of %d bytes", len(body))
	}
	p := ngPort{link: capture.LinkType(n.order.Uint16(body)), snaplen: n.order.Uint32(body[4:]), resol: 6}
	n.eachOption(body[8:], func(code uint16, v []byte) {
		switch {
		case code == ngIfName:
			p.name = string(v)
		case code == ngIfTSRes && len(v) == 1:
			p.resol = v[0]
		case code == ngIfFCS && len(v) == 1:
			p.fcs = int(v[0])
		case code == ngIfTSOff && len(v) == 8:
			p.offset = int64(n.order.Uint64(v))
		}
	})
	n.ports = append(n.ports, p)
	return nil
}

// name is an interface's, empty when it was not described.
func (n *ngReader) name(iface uint32) string {
	if int64(iface) < int64(len(n.ports)) {
		return n.ports[iface].name
	}
	return ""
}

// packet looks into a packet block of any of the three kinds.
func (n *ngReader) packet(b ngBlock) (ngPacketView, error) {
	body := b.body()
	if b.kind == ngSimple {
		return n.simple(body)
	}
	if len(body) < 20 {
		return ngPacketView{}, n.damaged("packet block of %d bytes", len(body))
	}
	p := ngPacketView{iface: n.order.Uint32(body), origLen: int(n.order.Uint32(body[16:]))}
	if b.kind == ngOldPacket {
		p.iface = uint32(n.order.Uint16(body))
	}
	port, err := n.port(p.iface)
	if err != nil {
		return p, err
	}
	units := uint64(n.order.Uint32(body[4:]))<<32 | uint64(n.order.Uint32(body[8:]))
	var ok bool
	if p.nanos, ok = port.nanos(units); !ok {
		return p, n.damaged("timestamp %d in units of if_tsresol %d lies outside 1970 to 2262", units, port.resol)
	}
	n.last = p.nanos
	rest, err := n.take(&p, port, body[20:], n.order.Uint32(body[12:]))
	n.eachOption(rest, func(code uint16, v []byte) {
		switch {
		case code == ngComment:
			p.comments = append(p.comments, string(v))
		case code == ngFlags && len(v) == 4:
			p.flags = n.order.Uint32(v)
		}
	})
	return p, err
}

// simple looks into a simple packet block (4.4): interface 0, no time of its own.
func (n *ngReader) simple(body []byte) (ngPacketView, error) {
	if len(body) < 4 {
		return ngPacketView{}, n.damaged("simple packet block of %d bytes", len(body))
	}
	p := ngPacketView{nanos: n.last, origLen: int(n.order.Uint32(body))}
	port, err := n.port(0)
	if err != nil {
		return p, err
	}
	size := uint32(p.origLen)
	if port.snaplen != 0 {
		size = min(size, port.snaplen)
	}
	_, err = n.take(&p, port, body[4:], size)
	return p, err
}

// take lends the frame to p and returns the options behind it.
func (n *ngReader) take(p *ngPacketView, port *ngPort, b []byte, captured uint32) (options []byte, err error) {
	padded := (int64(captured) + 3) &^ 3
	if padded > int64(len(b)) {
		return nil, n.damaged("packet of %d bytes in a block with room for %d", captured, len(b))
	}
	p.data = b[:captured]
	if port.fcs > 0 && len(p.data) >= p.origLen && len(p.data) >= port.fcs {
		p.data = p.data[:len(p.data)-port.fcs]
		p.origLen = len(p.data)
	}
	return b[padded:], nil
}

func (n *ngReader) port(iface uint32) (*ngPort, error) {
	if int64(iface) >= int64(len(n.ports)) {
		return nil, n.damaged("packet of interface %d, the section describes %d", iface, len(n.ports))
	}
	p := &n.ports[iface]
	if p.link != capture.Ethernet {
		return nil, n.damaged("link type %v: expected %v, the frames that a switch forwards", p.link, capture.Ethernet)
	}
	return p, nil
}

// nanos turns the interface's units of time into nanoseconds since 1970.
func (p *ngPort) nanos(units uint64) (int64, bool) {
	var hi, lo uint64
	switch v := p.resol & 0x7f; {
	case p.resol&0x80 != 0 && v > 63:
		return 0, false // finer than any clock
	case p.resol&0x80 != 0:
		hi, lo = bits.Mul64(units, 1e9)
		lo = lo>>v | hi<<(64-v) // a shift by 64 is 0
		hi >>= v
	case v <= 9:
		hi, lo = bits.Mul64(units, uint64(math.Pow10(int(9-v))))
	case v <= 27:
		lo = units / uint64(math.Pow10(int(v-9)))
	}
	const maxSeconds = math.MaxInt64 / 1_000_000_000
	if hi != 0 || lo > math.MaxInt64 || p.offset > maxSeconds || p.offset < -maxSeconds {
		return 0, false
	}
	shift := p.offset * 1e9
	sum := int64(lo) + shift
	return sum, sum >= 0 && (shift <= 0 || sum >= shift)
}
