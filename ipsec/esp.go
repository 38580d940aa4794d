package ipsec

import "encoding/binary"

// The packet of RFC 4303, 2, with the explicit IV of RFC 4106, 3.1, in network
// byte order. Encrypted is from the payload to the next header; authenticated is
// all in front of the ICV, and with extended sequence numbers their high half,
// which is not sent:
//
//	 0                   1                   2                   3
//	+---------------------------------------------------------------+
//	|               Security Parameters Index (SPI)                 |
//	+---------------------------------------------------------------+
//	|               Sequence number (low 32 bits)                   |
//	+---------------------------------------------------------------+
//	|               Initialisation vector (8 bytes)                 |
//	|                                                               |
//	+---------------------------------------------------------------+
//	|               Payload                                         |
//	|               +-----------------------------------------------+
//	|               | Padding 1, 2, 3 (0-3 bytes)                   |
//	|               |               +---------------+---------------+
//	|               |               |  Pad length   |  Next header  |
//	+---------------------------------------------------------------+
//	|               Integrity check value (16 bytes)                |
//	+---------------------------------------------------------------+
const (
	ivAt      = 8
	payloadAt = 16 // where the payload stands in a packet
	trailer   = 2
	alignment = 4

	// PayloadOffset is where the payload begins in a packet, in bytes.
	PayloadOffset = payloadAt
	// MaxPacket is the longest packet in bytes: an IP packet holds no more.
	MaxPacket = 65535
)

// Next headers (IANA protocol numbers).
const (
	NextUDP  = 17 // the payload is a UDP datagram
	NextNone = 59 // a dummy packet, to be discarded (RFC 4303, 2.6)
)

// Port is the UDP port of ESP in UDP (RFC 3948, 2.1).
const Port = 4500

// An Encapsulation is what carries ESP.
type Encapsulation uint8

// The encapsulations.
const (
	InIP  Encapsulation = iota // IP protocol 50
	InUDP                      // behind a UDP header of 8 bytes (RFC 3948, 2.1)
)

// Len returns how many bytes an encapsulation puts in front of a packet.
func (e Encapsulation) Len() int {
	if e == InUDP {
		return 8
	}
	return 0
}

// padding returns how many bytes of padding follow n bytes of payload (RFC 4303,
// 2.4: the next header ends on a 4-byte boundary).
func padding(n int) int { return -(n + trailer) & (alignment - 1) }

// TrailerLen returns how many bytes are encrypted behind n bytes of payload.
func TrailerLen(n int) int { return padding(n) + trailer }

// PacketLen returns the length in bytes of the packet that holds n bytes of
// payload, without encapsulation.
func (a Algorithm) PacketLen(n int) int {
	return payloadAt + n + padding(n) + trailer + a.icv()
}

// Overhead returns how many bytes protection adds to n bytes of payload, from the
// end of the outer IP header on: 42 to 45 in UDP, 34 to 37 in IP.
func (a Algorithm) Overhead(e Encapsulation, n int) int { return e.Len() + a.PacketLen(n) - n }

// MaxPayload returns the longest payload, in bytes, that fits into room bytes
// behind the outer IP header; it is negative if none does.
//
// An underlay of 1,500 bytes leaves 1,480 behind its IPv4 header. Less 8 of UDP,
// 16 of SPI, sequence number and IV, and 16 of ICV that is 1,440, a multiple of 4,
// of which 2 are the trailer: 1,438. The inner UDP header (8), VXLAN (8) and
// Ethernet (14) leave 1,408 for the inner packet. That is 42 less than VXLAN in
// clear, and nothing is padded.
func (a Algorithm) MaxPayload(e Encapsulation, room int) int {
	return (room-e.Len()-payloadAt-a.icv())&^(alignment-1) - trailer
}

// A Kind says what a UDP datagram on [Port] holds.
type Kind uint8

// The kinds of RFC 3948, 2.
const (
	KindESP       Kind = iota // an ESP packet
	KindMarked                // behind the non-ESP marker, which is the first four bytes: IKE, announcements
	KindKeepalive             // keeps a NAT's mapping alive, to be ignored
	KindShort                 // none of these: shorter than an SPI and a sequence number
)

// Classify tells what the payload of a datagram is (RFC 3948, 2.2, 2.3 and 4).
func Classify(datagram []byte) Kind {
	switch {
	case len(datagram) == 1 && datagram[0] == 0xff:
		return KindKeepalive
	case len(datagram) >= 4 && binary.BigEndian.Uint32(datagram) == 0:
		return KindMarked
	case len(datagram) < 8:
		return KindShort
	}
	return KindESP
}
