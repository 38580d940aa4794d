package arp_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/arp"
	"weft/internal/frame"
)

// ll returns fe80::n.
func ll(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: n}) }

// solicitedNode returns the group of an address and its MAC.
func solicitedNode(a netip.Addr) (netip.Addr, frame.MAC) {
	b := a.As16()
	g := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}
	return netip.AddrFrom16(g), frame.MAC{0x33, 0x33, 0xff, b[13], b[14], b[15]}
}

// ndFrame builds a message with gopacket, opts in front of its own option.
func ndFrame(t testing.TB, vlan uint16, hops uint8, m arp.Message, opts ...layers.ICMPv6Option) []byte {
	t.Helper()
	src, dst, target := m.Src.As16(), m.Dst.As16(), m.Target.As16()
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: src[:], DstIP: dst[:]}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)}
	kind := layers.ICMPv6OptSourceAddress
	if m.Advertisement {
		icmp.TypeCode, kind = layers.CreateICMPv6TypeCode(136, 0), layers.ICMPv6OptTargetAddress
	}
	if m.HasLinkAddr {
		opts = append(opts, layers.ICMPv6Option{Type: kind, Data: m.LinkAddr[:]})
	}
	var body gopacket.SerializableLayer = &layers.ICMPv6NeighborSolicitation{TargetAddress: net.IP(target[:]), Options: opts}
	if m.Advertisement {
		body = &layers.ICMPv6NeighborAdvertisement{Flags: m.Flags, TargetAddress: net.IP(target[:]), Options: opts}
	}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return build(t, append(ethernet(m.DstMAC, m.SrcMAC, layers.EthernetTypeIPv6, vlan), ip, icmp, body)...)
}

// ns returns A's multicast solicitation for target.
func ns(src, target netip.Addr) arp.Message {
	g, gm := solicitedNode(target)
	m := arp.Message{SrcMAC: macA, DstMAC: gm, Src: src, Dst: g, Target: target}
	if !src.IsUnspecified() {
		m.LinkAddr, m.HasLinkAddr = macA, true
	}
	return m
}

// resum makes the checksum of an untagged message right again.
func resum(b []byte) {
	b[56], b[57] = 0, 0
	sum := frame.Checksum(b[54:], frame.Sum(b[22:54], uint64(len(b)-54)+frame.ProtoICMPv6))
	b[56], b[57] = byte(sum>>8), byte(sum)
}

// cut returns the message without its last n bytes, lengths and sum right.
func cut(m arp.Message, n int) []byte {
	b := m.Append(nil)
	b = b[:len(b)-n]
	b[19] -= byte(n)
	resum(b)
	return b
}

// withOptions appends options to a message.
func withOptions(m arp.Message, options []byte) []byte {
	b := append(m.Append(nil), options...)
	b[19] += byte(len(options))
	resum(b)
	return b
}

// fragment puts a fragment header, first and only, before the ICMPv6 header.
func fragment(plain []byte) []byte {
	b := append([]byte(nil), plain[:54]...)
	b[19] += 8
	b[20] = 44
	b = append(b, frame.ProtoICMPv6, 0, 0, 0, 0, 0, 0, 1)
	return append(b, plain[54:]...)
}

func TestMessageBothWays(t *testing.T) {
	for _, c := range []struct {
		name string
		m    arp.Message
	}{
		{"solicitation", ns(ll(0xa), ll(0xb))},
		{"duplicate address detection", ns(netip.IPv6Unspecified(), ll(0xb))},
		{"advertisement", arp.Message{Advertisement: true, SrcMAC: macB, DstMAC: macA, Src: ll(0xb), Dst: ll(0xa), Target: ll(0xb),
			Flags: arp.FlagRouter | arp.FlagSolicited | arp.FlagOverride, LinkAddr: macB, HasLinkAddr: true}},
		{"advertisement without option", arp.Message{Advertisement: true, SrcMAC: macB, DstMAC: macA, Src: ll(0xb), Dst: ll(0xa), Target: ll(0xb)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := ndFrame(t, 0, 255, c.m)
			if got := c.m.Append(nil); string(got) != string(data) {
				t.Fatalf("marshalled\n%x, gopacket\n%x", got, data)
			}
			if got, err := arp.ParseMessage(parsed(t, data)); err != nil || got != c.m {
				t.Fatalf("parsed %+v, %v, want %+v", got, err, c.m)
			}
		})
	}
}

func TestAnswerND(t *testing.T) {
	dad := netip.IPv6Unspecified()
	unicast := func(m arp.Message, mac frame.MAC) arp.Message {
		m.Dst, m.DstMAC = m.Target, mac
		return m
	}
	bare := unicast(ns(ll(0xa), ll(0xb)), macB) // RFC 4861, 4.3: may lack the option
	bare.HasLinkAddr, bare.LinkAddr = false, frame.MAC{}
	own := ns(dad, ll(0xb))
	own.SrcMAC = macB
	nonce := layers.ICMPv6Option{Type: 14, Data: []byte{1, 2, 3, 4, 5, 6}} // RFC 7527
	for _, c := range []struct {
		name string
		m    arp.Message
		opts []layers.ICMPv6Option
		want arp.Verdict
		mac  frame.MAC
	}{
		{"static", ns(ll(0xa), ll(0xb)), nil, arp.Reply, macB},
		{"learned", ns(ll(0xa), ll(0xc)), nil, arp.Reply, macC},
		{"unknown", ns(ll(0xa), ll(0x99)), nil, arp.Unknown, macA},
		{"unicast probe of a static one", unicast(ns(ll(0xa), ll(0xb)), macB), nil, arp.Reply, macB},
		{"unicast probe without option", bare, nil, arp.Reply, macB},
		{"unicast probe of a learned one", unicast(ns(ll(0xa), ll(0xc)), macC), nil, arp.Ignore, macA},
		{"address of a static one tried", ns(dad, ll(0xb)), nil, arp.Reply, macB},
		{"tried with a nonce", ns(dad, ll(0xb)), []layers.ICMPv6Option{nonce}, arp.Reply, macB},
		{"address of a learned one tried", ns(dad, ll(0xc)), nil, arp.Ignore, macA},
		{"own address tried", own, nil, arp.Ignore, macA},
		{"asks for itself", ns(ll(0xb), ll(0xb)), nil, arp.Ignore, macA},
	} {
		for _, vlan := range []uint16{0, 42} {
			t.Run(c.name, func(t *testing.T) {
				data := ndFrame(t, vlan, 255, c.m, c.opts...)
				f := parsed(t, data)
				if got := table(t).Answer(f); got != c.want {
					t.Fatalf("verdict %v, want %v", got, c.want)
				}
				if c.want != arp.Reply {
					if string(f.Bytes()) != string(data) {
						t.Fatal("a frame not answered was changed")
					}
					return
				}
				want := arp.Message{Advertisement: true, SrcMAC: c.mac, DstMAC: macA, Src: c.m.Target, Dst: c.m.Src,
					Target: c.m.Target, Flags: arp.FlagSolicited | arp.FlagOverride, LinkAddr: c.mac, HasLinkAddr: true}
				if c.m.Src == dad {
					want.Dst, want.DstMAC = netip.MustParseAddr("ff02::1"), frame.MAC{0x33, 0x33, 0, 0, 0, 1}
					want.Flags = arp.FlagOverride
				}
				if wire := ndFrame(t, vlan, 255, want); string(f.Bytes()) != string(wire) {
					t.Fatalf("advertisement\n%x, want\n%x", f.Bytes(), wire)
				}
			})
		}
	}
}

// TestAnswerExtended sends a solicitation behind a hop-by-hop header: the answer
// is a plain one.
func TestAnswerExtended(t *testing.T) {
	plain := ndFrame(t, 0, 255, ns(ll(0xa), ll(0xb)))
	data := append([]byte(nil), plain[:54]...)
	data[19] += 8 // payload length
	data[20] = 0  // next header: hop-by-hop
	data = append(data, frame.ProtoICMPv6, 0, 1, 4, 0, 0, 0, 0)
	data = append(data, plain[54:]...)
	f := parsed(t, data)
	if got := table(t).Answer(f); got != arp.Reply {
		t.Fatalf("verdict %v", got)
	}
	m, err := arp.ParseMessage(f)
	if err != nil || f.Len() != 86 || m.LinkAddr != macB {
		t.Fatalf("%d bytes, %+v, %v", f.Len(), m, err)
	}
}

func TestMalformedND(t *testing.T) {
	na := arp.Message{Advertisement: true, SrcMAC: macB, DstMAC: macA, Src: ll(0xb), Dst: ll(0xa), Target: ll(0xb),
		Flags: arp.FlagSolicited, LinkAddr: macB, HasLinkAddr: true}
	loud := na // solicited and multicast at once
	loud.Dst, loud.DstMAC = netip.MustParseAddr("ff02::1"), frame.MAC{0x33, 0x33, 0, 0, 0, 1}
	group := na
	group.Target = netip.MustParseAddr("ff02::1")
	badDAD, toAll := ns(netip.IPv6Unspecified(), ll(0xb)), ns(netip.IPv6Unspecified(), ll(0xb))
	badDAD.HasLinkAddr, badDAD.LinkAddr = true, macA
	toAll.Dst = ll(0xb)
	groupLink := ns(ll(0xa), ll(0xb))
	groupLink.LinkAddr = broadcast
	plain := ns(ll(0xa), ll(0xb))
	plain.HasLinkAddr = false
	edit := func(m arp.Message, at int, v byte) []byte {
		b := ndFrame(t, 0, 255, m)
		b[at] = v
		resum(b)
		return b
	}
	sum := ndFrame(t, 0, 255, ns(ll(0xa), ll(0xb)))
	sum[57] ^= 1
	for _, c := range []struct {
		name string
		data []byte
		want arp.Verdict
	}{
		{"sound solicitation", ndFrame(t, 0, 255, ns(ll(0xa), ll(0xb))), arp.Reply},
		{"sound advertisement", ndFrame(t, 0, 255, na), arp.Ignore},
		{"hop limit 254", ndFrame(t, 0, 254, ns(ll(0xa), ll(0xb))), arp.Bad},
		{"checksum", sum, arp.Bad},
		{"code 1", edit(ns(ll(0xa), ll(0xb)), 55, 1), arp.Bad},
		{"option of length 0", edit(ns(ll(0xa), ll(0xb)), 79, 0), arp.Bad},
		{"option beyond the end", edit(ns(ll(0xa), ll(0xb)), 79, 2), arp.Bad},
		{"multicast target", edit(ns(ll(0xa), ll(0xb)), 62, 0xff), arp.Bad},
		{"duplicate address detection with option", ndFrame(t, 0, 255, badDAD), arp.Bad},
		{"duplicate address detection to a host", ndFrame(t, 0, 255, toAll), arp.Bad},
		{"group link-layer address", ndFrame(t, 0, 255, groupLink), arp.Bad},
		{"two link-layer addresses", withOptions(ns(ll(0xa), ll(0xb)), []byte{1, 1, 2, 0, 0, 0, 0, 0xa}), arp.Bad},
		{"link-layer address of 14 bytes", withOptions(plain, []byte{1, 2, 2, 0, 0, 0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0}), arp.Bad},
		{"another option", withOptions(ns(ll(0xa), ll(0xb)), []byte{14, 1, 1, 2, 3, 4, 5, 6}), arp.Reply},
		{"solicited multicast advertisement", ndFrame(t, 0, 255, loud), arp.Bad},
		{"advertisement of a group", ndFrame(t, 0, 255, group), arp.Bad},
		{"cut in the target", cut(ns(ll(0xa), ll(0xb)), 16), arp.Bad},
		{"cut in the option", cut(ns(ll(0xa), ll(0xb)), 4), arp.Bad},
		{"atomic fragment", fragment(ndFrame(t, 0, 255, ns(ll(0xa), ll(0xb)))), arp.Bad},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parsed(t, c.data)
			_, _, claimed := arp.Sender(f)
			_, err := arp.ParseMessage(f)
			if got := table(t).Answer(f); got != c.want {
				t.Fatalf("verdict %v, want %v", got, c.want)
			}
			if bad := c.want == arp.Bad; claimed == bad || (err != nil) != bad {
				t.Fatalf("claims a sender: %v, parse: %v", claimed, err)
			}
		})
	}
}

func TestSenderND(t *testing.T) {
	na := arp.Message{Advertisement: true, SrcMAC: macA, DstMAC: macB, Src: ll(0xa), Dst: ll(0xb), Target: ll(0xc), LinkAddr: macC, HasLinkAddr: true}
	plain := na
	plain.HasLinkAddr, plain.LinkAddr = false, frame.MAC{}
	for _, c := range []struct {
		name string
		m    arp.Message
		addr netip.Addr
		mac  frame.MAC
	}{
		{"solicitation", ns(ll(0xa), ll(0xb)), ll(0xa), macA},
		{"duplicate address detection", ns(netip.IPv6Unspecified(), ll(0xb)), netip.IPv6Unspecified(), macA},
		{"advertisement speaks for its target", na, ll(0xc), macC},
		{"advertisement without option", plain, ll(0xc), macA},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, m, ok := arp.Sender(parsed(t, ndFrame(t, 0, 255, c.m)))
			if !ok || a != c.addr || m != c.mac {
				t.Fatalf("sender %v %v %v, want %v %v", a, m, ok, c.addr, c.mac)
			}
		})
	}
}
