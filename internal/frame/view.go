package frame

import "encoding/binary"

// A View is what [Frame.Parse] found out about a frame. All offsets are in
// bytes from the destination MAC; 0 means absent.
type View struct {
	// L3 is where the network header starts: 14, 18 or 22.
	L3 uint16
	// L4 is where the transport header starts; 0 for fragments after the
	// first, for other protocols than IP and for IPv6 chains not walked.
	L4 uint16
	// Payload is where the transport payload starts (TCP and UDP only).
	Payload uint16
	// EtherType is the innermost one, below VLAN tags.
	EtherType uint16
	// VLAN is the outermost 802.1Q identifier that is not 0, 0 when untagged.
	// A priority tag (identifier 0) names no VLAN: receivers take it off and
	// go by the tag below.
	VLAN uint16
	// Proto is the IP protocol of L4 (IPv6: after extension headers).
	Proto uint8
	// Fragment is set on every fragment of a datagram, Later on all but the
	// first.
	Fragment, Later bool
	// walked is where the IP headers that were looked at end.
	walked uint16
}

// EtherTypes looked at.
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherIPv6 = 0x86DD
	EtherVLAN = 0x8100 // 802.1Q C-tag
	EtherQinQ = 0x88A8 // 802.1ad S-tag
)

// IP protocol numbers looked at.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// EtherLen is the length of an untagged Ethernet header in bytes.
const EtherLen = 14

// A MAC is an IEEE 802 48-bit address.
type MAC [6]byte

// DstMAC returns the destination. The frame must be at least EtherLen long.
func (f *Frame) DstMAC() MAC { return MAC(f.Bytes()[0:6]) }

// SrcMAC returns the source. The frame must be at least EtherLen long.
func (f *Frame) SrcMAC() MAC { return MAC(f.Bytes()[6:12]) }

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
