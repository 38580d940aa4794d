package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/frame"
)

// A description is a frame in words: src=10.0.0.2,dst=10.0.0.3,proto=tcp,dport=80.
type description struct {
	src, dst     string // addresses or sandboxes' names
	proto        string
	sport, dport uint16
	smac, dmac   frame.MAC
	vlan         uint16
	ttl          uint8
	size         int // bytes of payload
}

// maxPayload keeps a described frame within one Ethernet frame.
const maxPayload = 1400

// parseDescription reads KEY=VALUE pairs joined by commas.
func parseDescription(s string) (description, error) {
	d := description{proto: "icmp", ttl: 64, sport: 40000, dport: 80}
	for _, pair := range strings.Split(s, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || v == "" {
			return d, fmt.Errorf("frame %q: %q is not KEY=VALUE", s, pair)
		}
		if err := d.set(strings.ToLower(k), v); err != nil {
			return d, fmt.Errorf("frame %q: %w", s, err)
		}
	}
	if d.dst == "" {
		return d, fmt.Errorf("frame %q: dst= is missing, an address or a sandbox's name", s)
	}
	return d, nil
}

func (d *description) set(k, v string) (err error) {
	number := func(bits int) uint64 {
		n, parseErr := strconv.ParseUint(v, 0, bits)
		if parseErr != nil {
			err = fmt.Errorf("%s=%s: expected a number up to %d", k, v, uint64(1)<<bits-1)
		}
		return n
	}
	switch k {
	case "src":
		d.src = v
	case "dst":
		d.dst = v
	case "proto":
		switch d.proto = strings.ToLower(v); d.proto {
		case "tcp", "udp", "icmp", "arp", "nd":
		default:
			err = fmt.Errorf("proto=%s: expected tcp, udp, icmp, arp or nd", v)
		}
	case "sport":
		d.sport = uint16(number(16))
	case "dport":
		d.dport = uint16(number(16))
	case "smac":
		d.smac, err = frame.ParseMAC(v)
	case "dmac":
		d.dmac, err = frame.ParseMAC(v)
	case "ttl":
		d.ttl = uint8(number(8))
	case "vlan":
		if d.vlan = uint16(number(12)); err == nil && (d.vlan == 0 || d.vlan == 4095) {
			err = fmt.Errorf("vlan=%s: expected 1 to 4094", v)
		}
	case "len":
		if d.size = int(number(16)); err == nil && d.size > maxPayload {
			err = fmt.Errorf("len=%s: expected at most %d bytes of payload", v, maxPayload)
		}
	default:
		err = fmt.Errorf("unknown key %q, expected src, dst, proto, sport, dport, smac, dmac, vlan, ttl or len", k)
	}
	return err
}

var errFamilies = errors.New("src and dst are addresses of different families")

// build makes the frame from the description once its addresses are known.
func (d *description) build(src, dst netip.Addr) ([]byte, error) {
	if src.Is4() != dst.Is4() {
		return nil, errFamilies
	}
	if (d.proto == "arp" && !src.Is4()) || (d.proto == "nd" && src.Is4()) {
		return nil, fmt.Errorf("proto=%s does not go with %s", d.proto, src)
	}
	b := append(make([]byte, 0, 128+d.size), d.dmac[:]...)
	b = append(b, d.smac[:]...)
	if d.vlan != 0 {
		b = binary.BigEndian.AppendUint16(b, frame.EtherVLAN)
		b = binary.BigEndian.AppendUint16(b, d.vlan)
	}
	if d.proto == "arp" {
		return appendARP(b, d.smac, src, dst), nil
	}
	l4, proto := d.transport(src, dst)
	if d.proto == "nd" { // asked of the solicited-node group, RFC 4291 2.7.1
		a := dst.As16()
		dst = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	}
	sum := pseudoSum(src, dst, proto, len(l4))
	if proto == frame.ProtoICMP {
		sum = 0 // RFC 792: no pseudo-header
	}
	binary.BigEndian.PutUint16(l4[sumAt(proto):], frame.Checksum(l4, sum))
	return append(d.appendIP(b, src, dst, proto, len(l4)), l4...), nil
}

// appendARP appends a who-has (RFC 826).
func appendARP(b []byte, smac frame.MAC, src, dst netip.Addr) []byte {
	b = binary.BigEndian.AppendUint16(b, frame.EtherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(b, smac[:]...)
	b = append(b, src.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, dst.AsSlice()...)
}

// transport is the header and payload above IP, without its checksum.
func (d *description) transport(src, dst netip.Addr) ([]byte, byte) {
	body := make([]byte, d.size)
	switch d.proto {
	case "tcp": // RFC 9293 3.1: a SYN
		b := binary.BigEndian.AppendUint16(nil, d.sport)
		b = binary.BigEndian.AppendUint16(b, d.dport)
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 0x02, 0xff, 0xff, 0, 0, 0, 0)
		return append(b, body...), frame.ProtoTCP
	case "udp": // RFC 768
		b := binary.BigEndian.AppendUint16(nil, d.sport)
		b = binary.BigEndian.AppendUint16(b, d.dport)
		b = binary.BigEndian.AppendUint16(b, uint16(8+d.size))
		return append(append(b, 0, 0), body...), frame.ProtoUDP
	case "nd": // RFC 4861 4.3: a solicitation with the source's address
		target := dst.As16()
		b := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
		return append(append(b, 1, 1), d.smac[:]...), frame.ProtoICMPv6
	}
	kind, proto := byte(8), byte(frame.ProtoICMP) // RFC 792: an echo request
	if src.Is6() {
		kind, proto = 128, frame.ProtoICMPv6
	}
	return append([]byte{kind, 0, 0, 0, 0, 1, 0, 1}, body...), proto
}

// sumAt is where a transport header has its checksum.
func sumAt(proto byte) int {
	switch proto {
	case frame.ProtoTCP:
		return 16
	case frame.ProtoUDP:
		return 6
	}
	return 2
}

// pseudoSum is the sum over the pseudo-header (RFC 9293 3.1, RFC 8200 8.1).
func pseudoSum(src, dst netip.Addr, proto byte, n int) uint64 {
	sum := frame.Sum(src.AsSlice(), 0)
	sum = frame.Sum(dst.AsSlice(), sum)
	return sum + uint64(proto) + uint64(n)
}

func (d *description) appendIP(b []byte, src, dst netip.Addr, proto byte, n int) []byte {
	ttl := d.ttl
	if d.proto == "nd" {
		ttl = 255 // RFC 4861 7.1.1
	}
	if src.Is4() {
		b = binary.BigEndian.AppendUint16(b, frame.EtherIPv4)
		at := len(b)
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+n))
		b = append(b, 0, 0, 0x40, 0, ttl, proto, 0, 0)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
		frame.SetIPv4Checksum(b[at:])
		return b
	}
	b = binary.BigEndian.AppendUint16(b, frame.EtherIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, proto, ttl)
	return append(append(b, src.AsSlice()...), dst.AsSlice()...)
}
