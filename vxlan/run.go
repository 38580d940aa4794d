package vxlan

import (
	"weft/internal/frame"
	"weft/ipsec"
)

const (
	// maxRun is the most datagrams of one message. Linux allows 64 (128 since
	// 6.9), but counts the UDP header in.
	maxRun = 63
	// maxRunBytes is the most bytes of one, below IPv4's 65,507.
	maxRunBytes = 65000
)

// MaxSuperframe returns the largest superframe, in bytes of IP packet, that a host
// should make on a network of the given MTU so that all of its segments leave in
// one message; 0 when there is no such limit. It is for the host's own device
// (IFLA_GSO_MAX_SIZE), which knows nothing of encapsulation: its 64 KiB would make
// a message and a small one behind it.
func MaxSuperframe(mtu int) int { return maxSuperframe(mtu, mtu+frame.EtherLen+HeaderLen) }

// MaxSealedSuperframe is MaxSuperframe where datagrams are sealed.
func MaxSealedSuperframe(mtu int, a ipsec.Algorithm) int {
	return maxSuperframe(mtu, a.PacketLen(mtu+frame.EtherLen+sealedHeaders))
}

// maxSuperframe is MaxSuperframe of datagrams of so many bytes.
func maxSuperframe(mtu, datagram int) int {
	const (
		// headers are those of TCP with the timestamps that Linux sends, in IPv4.
		headers = 20 + 20 + 12
		// reserve is what Linux takes off the device's value for headers to come
		// (MAX_TCP_HEADER + 1), and less than a segment for those of IPv6.
		reserve = 321 + 79
	)
	if mtu <= headers {
		return 0
	}
	segments := min(maxRun, maxRunBytes/datagram)
	if segments < 2 {
		return 0
	}
	return min(segments*(mtu-headers)+reserve, maxRunBytes)
}
