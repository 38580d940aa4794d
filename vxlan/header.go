package vxlan

import (
	"encoding/binary"

	"weft/internal/frame"
	"weft/ipsec"
)

// What VXLAN adds, in bytes.
const (
	// HeaderLen is the length of the VXLAN header.
	HeaderLen = 8
	// Overhead4 and Overhead6 are what an underlay packet holds beside the
	// inner IP packet: outer IP, UDP and VXLAN headers and the inner Ethernet
	// header.
	Overhead4 = 20 + 8 + HeaderLen + frame.EtherLen
	Overhead6 = 40 + 8 + HeaderLen + frame.EtherLen
)

const (
	// udpLen is the length of a UDP header.
	udpLen = 8
	// sealedHeaders are what a frame is sealed with: an inner UDP header and VXLAN's.
	sealedHeaders = udpLen + HeaderLen
)

// Port is the UDP port IANA assigned to VXLAN.
const Port = 4789

// MaxVNI is the largest VXLAN network identifier: 24 bits.
const MaxVNI = 1<<24 - 1

// The header of RFC 7348, section 5, in network byte order:
//
//	 0                   1                   2                   3
//	+-+-+-+-+-+-+-+-+-----------------------------------------------+
//	|R R R R I R R R|                  reserved                     |
//	+---------------+-------------------------------+---------------+
//	|                      VNI                      |   reserved    |
//	+-----------------------------------------------+---------------+
const flagI = 0x08 << 56 // of all eight bytes as one number

// PutHeader writes the header of a network into b, which must hold [HeaderLen]
// bytes. vni must not exceed [MaxVNI].
func PutHeader(b []byte, vni uint32) { binary.BigEndian.PutUint64(b, flagI|uint64(vni)<<8) }

// ParseHeader reads the header at the beginning of a datagram's payload. The
// reason is Runt for a payload too short for a header and an Ethernet header
// behind it, and BadVXLAN when the I flag is not set. Other flags and reserved
// bits are ignored (RFC 7348, 5).
func ParseHeader(b []byte) (vni uint32, r frame.Reason) {
	if len(b) < HeaderLen+frame.EtherLen {
		return 0, frame.Runt
	}
	h := binary.BigEndian.Uint64(b)
	if h&flagI == 0 {
		return 0, frame.BadVXLAN
	}
	return uint32(h>>8) & MaxVNI, frame.NotDropped
}

// InnerMTU returns the largest IP packet, in bytes, that fits an underlay of the
// given MTU. An underlay packet has at most 65,535 bytes whatever its link takes
// (loopback has 65,536).
func InnerMTU(underlay int, v6 bool) int {
	if v6 {
		return min(underlay, 65535) - Overhead6
	}
	return min(underlay, 65535) - Overhead4
}

// SealedMTU is InnerMTU where datagrams are sealed: in UDP (RFC 3948) or in IP.
func SealedMTU(underlay int, v6 bool, a ipsec.Algorithm, e ipsec.Encapsulation) int {
	header := 20
	if v6 {
		header = 40
	}
	return a.MaxPayload(e, min(underlay, 65535)-header) - sealedHeaders - frame.EtherLen
}
