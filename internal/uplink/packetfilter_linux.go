package uplink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// Places that a classic BPF program on a socket can look at beside the frame's bytes
// (linux/filter.h).
const (
	adOffset      = 0xfffff000 // SKF_AD_OFF
	adPacketType  = adOffset + 4
	adTagged      = adOffset + 48
	sentHere      = 4 // PACKET_OUTGOING
	protoICMPv6At = frame.EtherLen + 6
)

// packetFilter returns the classic BPF program that lets pass what an uplink with a MAC
// is to see: IPv4, IPv6 and ARP for it, ARP and ICMPv6 for a group; and not what the
// kernel sends itself, nor what came with a VLAN tag, which the kernel takes off before
// anybody sees it.
func packetFilter(mac frame.MAC) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		set   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	// Jumps are counted from the next instruction: true, false.
	return []unix.SockFilter{
		0:  {Code: load | unix.BPF_W, K: adPacketType},
		1:  {Code: equal, K: sentHere, Jt: 17},
		2:  {Code: load | unix.BPF_B, K: adTagged},
		3:  {Code: equal, K: 0, Jf: 15},
		4:  {Code: load | unix.BPF_B, K: 0},
		5:  {Code: set, K: 1, Jt: 8}, // a group
		6:  {Code: load | unix.BPF_W, K: 0},
		7:  {Code: equal, K: binary.BigEndian.Uint32(mac[:]), Jf: 11},
		8:  {Code: load | unix.BPF_H, K: 4},
		9:  {Code: equal, K: uint32(binary.BigEndian.Uint16(mac[4:])), Jf: 9},
		10: {Code: load | unix.BPF_H, K: 12},
		11: {Code: equal, K: frame.EtherIPv4, Jt: 8},
		12: {Code: equal, K: frame.EtherIPv6, Jt: 7},
		13: {Code: equal, K: frame.EtherARP, Jt: 6, Jf: 5},
		14: {Code: load | unix.BPF_H, K: 12}, // a group
		15: {Code: equal, K: frame.EtherARP, Jt: 4},
		16: {Code: equal, K: frame.EtherIPv6, Jf: 2},
		17: {Code: load | unix.BPF_B, K: protoICMPv6At},
		18: {Code: equal, K: frame.ProtoICMPv6, Jt: 1},
		19: {Code: ret, K: 0},
		20: {Code: ret, K: 0xffffffff},
	}
}
