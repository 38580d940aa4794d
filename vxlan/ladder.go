package vxlan

import "fmt"

// A SendRung is a step of the ladder of sending, the best first.
type SendRung uint8

// The rungs of sending.
const (
	SendGSO    SendRung = iota // UDP_SEGMENT: a run of frames is one message (Linux 4.18)
	SendMMsg                   // sendmmsg(2): many messages a call
	SendSingle                 // sendto(2)
)

// String returns the name doctor shows.
func (r SendRung) String() string { return [...]string{"gso", "sendmmsg", "sendto"}[r] }

// A ReceiveRung is a step of the ladder of receiving, the best first.
type ReceiveRung uint8

// The rungs of receiving.
const (
	ReceiveGRO    ReceiveRung = iota // UDP_GRO: datagrams of a flow come merged (Linux 5.0)
	ReceiveMMsg                      // recvmmsg(2): many messages a call
	ReceiveSingle                    // recvfrom(2)
)

// String returns the name doctor shows.
func (r ReceiveRung) String() string { return [...]string{"gro", "recvmmsg", "recvfrom"}[r] }

// gsoFault names the fault of a kernel release that makes UDP_SEGMENT unusable
// and that probing cannot find; empty for all others.
func gsoFault(release string) string {
	var major, minor, patch int
	fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch)
	if at := major*1_000_000 + minor*1_000 + patch; at >= 7_000_000 && at < 7_001_005 {
		return "Linux " + release + " damages datagrams whose segments are all of one size (7.0 to 7.1.4)"
	}
	return ""
}
