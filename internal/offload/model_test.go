package offload_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
)

// A spec describes one TCP or UDP frame, plain or super.
type spec struct {
	vlans         []uint16
	v6, udp       bool
	sport         uint16
	seq, ack      uint32
	id            uint16
	tos, ttl      uint8
	df            bool
	window        uint16
	psh, fin, cwr bool
	ece           bool
	tcpOpts       int // NOPs
	ipOpts        bool
	payload       []byte
	super         int  // payload bytes per segment; 0: not a superframe
	partial       bool // leave the checksum undone
	dstOpts       bool // IPv6 destination options header
}

var (
	srcMAC, dstMAC = frame.MAC{2, 0, 0, 0, 0, 1}, frame.MAC{2, 0, 0, 0, 0, 2}
	src4, dst4     = []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}
	src6           = []byte{0xfd, 15: 1}
	dst6           = []byte{0xfd, 15: 2}
)

// bytes builds the frame with gopacket, checksums complete.
func (s *spec) bytes(t testing.TB) []byte {
	t.Helper()
	typ := layers.EthernetTypeIPv4
	if s.v6 {
		typ = layers.EthernetTypeIPv6
	}
	eth := &layers.Ethernet{SrcMAC: srcMAC[:], DstMAC: dstMAC[:], EthernetType: typ}
	ls := []gopacket.SerializableLayer{eth}
	if len(s.vlans) > 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
	}
	for i, v := range s.vlans {
		next := typ
		if i < len(s.vlans)-1 {
			next = layers.EthernetTypeDot1Q
		}
		ls = append(ls, &layers.Dot1Q{VLANIdentifier: v, Type: next})
	}
	b := serialize(t, append(ls, s.network(t)...))
	return s.mended(b)
}

// mended undoes padding, which gopacket puts to 60 bytes, and writes a UDP
// checksum of 0 as RFC 768 wants it, which gopacket does not.
func (s *spec) mended(b []byte) []byte {
	l3 := 14 + 4*len(s.vlans)
	l4, end := l3+20, l3+int(binary.BigEndian.Uint16(b[l3+2:]))
	if s.ipOpts {
		l4 += 4
	}
	if s.v6 {
		l4, end = l3+40, l3+40+int(binary.BigEndian.Uint16(b[l3+4:]))
		if s.dstOpts {
			l4 += 8
		}
	}
	b = b[:end]
	if s.udp && b[l4+6]|b[l4+7] == 0 {
		b[l4+6], b[l4+7] = 0xff, 0xff
	}
	return b
}

func (s *spec) network(t testing.TB) []gopacket.SerializableLayer {
	proto := layers.IPProtocolTCP
	if s.udp {
		proto = layers.IPProtocolUDP
	}
	var ls []gopacket.SerializableLayer
	var net gopacket.NetworkLayer
	if s.v6 {
		ip := &layers.IPv6{Version: 6, TrafficClass: s.tos, FlowLabel: uint32(s.id), HopLimit: s.ttl, NextHeader: proto, SrcIP: src6, DstIP: dst6}
		net, ls = ip, append(ls, ip)
		if s.dstOpts {
			ip.NextHeader = layers.IPProtocolIPv6Destination
			ls = append(ls, gopacket.Payload{byte(proto), 0, 1, 4, 0, 0, 0, 0})
		}
	} else {
		ip := &layers.IPv4{Version: 4, TOS: s.tos, TTL: s.ttl, Id: s.id, Protocol: proto, SrcIP: src4, DstIP: dst4}
		if s.df {
			ip.Flags = layers.IPv4DontFragment
		}
		if s.ipOpts {
			ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
		}
		net, ls = ip, append(ls, ip)
	}
	if s.udp {
		u := &layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: 9}
		_ = u.SetNetworkLayerForChecksum(net)
		return append(ls, u, gopacket.Payload(s.payload))
	}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.sport), DstPort: 9, Seq: s.seq, Ack: s.ack, ACK: true,
		PSH: s.psh, FIN: s.fin, CWR: s.cwr, ECE: s.ece, Window: s.window}
	for range s.tcpOpts {
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
	}
	_ = tcp.SetNetworkLayerForChecksum(net)
	return append(ls, tcp, gopacket.Payload(s.payload))
}

func serialize(t testing.TB, ls []gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// frame builds the frame into a parsed one, as a TAP would have delivered it.
func (s *spec) frame(t testing.TB) *frame.Frame {
	t.Helper()
	data := s.bytes(t)
	mem := make([]byte, frame.Headroom+len(data)+frame.Tailroom)
	copy(mem[frame.Headroom:], data)
	f := new(frame.Frame)
	f.Wrap(mem, frame.Headroom)
	f.Truncate(len(data))
	mustParse(t, f)
	if s.super == 0 && !s.partial {
		return f
	}
	o := frame.Offload{Flags: frame.NeedsCsum, HdrLen: 0xbad, CsumStart: f.View.L4, CsumOffset: 16}
	switch {
	case s.super == 0:
	case s.udp:
		o.GSO = frame.GSOUDP
	case s.v6:
		o.GSO = frame.GSOTCP6
	default:
		o.GSO = frame.GSOTCP4
	}
	if s.udp {
		o.CsumOffset = 6
	}
	if s.cwr && !s.udp && s.super > 0 {
		o.GSO |= frame.GSOECN
	}
	o.Size = uint16(s.super)
	at := int(o.CsumStart + o.CsumOffset)
	binary.BigEndian.PutUint16(f.Bytes()[at:], frame.Fold(f.PseudoSum(f.L4Len())))
	f.Offload = o
	mustParse(t, f)
	return f
}

func mustParse(t testing.TB, f *frame.Frame) {
	t.Helper()
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatalf("parse: %v: %x", r, f.Bytes()[:min(f.Len(), 80)])
	}
}

// model is the slow and plain splitter: a spec per segment, built by gopacket.
func (s *spec) model(t testing.TB) [][]byte {
	t.Helper()
	if s.super == 0 {
		return [][]byte{s.bytes(t)}
	}
	var out [][]byte
	for at := 0; at == 0 || at < len(s.payload); at += s.super {
		w := *s
		end := min(at+s.super, len(s.payload))
		w.payload = s.payload[at:end]
		w.seq += uint32(at)
		if !s.v6 {
			w.id += uint16(len(out))
		}
		w.fin, w.psh = s.fin && end == len(s.payload), s.psh && end == len(s.payload)
		w.cwr = s.cwr && at == 0
		out = append(out, w.bytes(t))
	}
	return out
}

// noise returns n bytes, the same for the same seed.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// supers are superframes of all kinds, for the model and for the kernel.
func supers() map[string]*spec {
	m := map[string]*spec{}
	add := func(name string, s spec) {
		s.sport, s.ttl, s.seq, s.ack, s.window, s.id = 40000, 64, 0xfffffff0, 7, 512, 0xfffe
		if s.super == 0 {
			s.super = 1000
		}
		m[name] = &s
	}
	for _, fam := range []struct {
		name string
		v6   bool
	}{{"4", false}, {"6", true}} {
		add("tcp"+fam.name, spec{v6: fam.v6, payload: noise(1, 5500), psh: true, df: true})
		add("tcp"+fam.name+" exact", spec{v6: fam.v6, payload: noise(2, 4000), tos: 3})
		add("tcp"+fam.name+" fin", spec{v6: fam.v6, payload: noise(3, 2001), fin: true, psh: true, tcpOpts: 12})
		add("tcp"+fam.name+" cwr", spec{v6: fam.v6, payload: noise(4, 3000), cwr: true, ece: true, tos: 2})
		add("tcp"+fam.name+" vlan", spec{v6: fam.v6, vlans: []uint16{5}, payload: noise(5, 2500)})
		add("tcp"+fam.name+" qinq", spec{v6: fam.v6, vlans: []uint16{5, 6}, payload: noise(6, 2500)})
		add("tcp"+fam.name+" 64k", spec{v6: fam.v6, payload: noise(7, 65000), super: 1448, tcpOpts: 12})
		add("udp"+fam.name, spec{v6: fam.v6, udp: true, payload: noise(8, 5500)})
		add("udp"+fam.name+" vlan", spec{v6: fam.v6, udp: true, vlans: []uint16{9}, payload: noise(9, 4001), df: true})
		add("udp"+fam.name+" small", spec{v6: fam.v6, udp: true, payload: noise(10, 63), super: 1})
		add("udp"+fam.name+" sum 0", spec{v6: fam.v6, udp: true, payload: zeroSum(fam.v6), super: 2})
	}
	add("tcp4 options", spec{ipOpts: true, payload: noise(11, 3000)})
	add("tcp6 destination options", spec{v6: true, dstOpts: true, payload: noise(12, 3000)})
	add("udp6 destination options", spec{v6: true, udp: true, dstOpts: true, payload: noise(13, 3000)})
	return m
}

// zeroSum returns payload of which some pieces of two bytes make the datagram's
// checksum come out as 0.
func zeroSum(v6 bool) []byte {
	s := spec{v6: v6, udp: true, sport: 40000, ttl: 64}
	var out []byte
	b := make([]byte, 256)
	f := new(frame.Frame)
	for v := range 65536 {
		s.payload = []byte{byte(v >> 8), byte(v)}
		if v == 0 {
			n := copy(b, s.bytes(nil2{}))
			f.Wrap(b[:n], 0)
			f.Parse()
		}
		t := f.Bytes()[f.View.L4:]
		t[6], t[7], t[8], t[9] = 0, 0, s.payload[0], s.payload[1]
		if frame.Checksum(t, f.PseudoSum(len(t))) == 0 {
			out = append(out, s.payload...)
		}
	}
	return append(append(noise(14, 6), out...), noise(15, 5)...)
}

// nil2 is a testing.TB for building in table construction: it only panics.
type nil2 struct{ testing.TB }

func (nil2) Helper()           {}
func (nil2) Fatal(args ...any) { panic(args) }
