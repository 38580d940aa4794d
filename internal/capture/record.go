package capture

import (
	"strconv"

	"weft/internal/frame"
)

// A Point is where in the switch a capture looks.
type Point uint8

// The points. Both may be looked at in one capture.
const (
	Before Point = 1 << iota // what comes in from the port, with the verdict it got
	After                    // what leaves to the port
	Both   = Before | After
)

// A Direction is seen from the switch.
type Direction uint8

// The directions.
const (
	In  Direction = iota // from the port into the switch
	Out                  // from the switch to the port
)

// String returns "in" or "out".
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// A Record is one captured frame with what the switch knew about it.
type Record struct {
	Time    int64  // nanoseconds since 1970 UTC
	Port    uint32 // its serial: no other port had or will have it
	Dir     Direction
	Verdict frame.Verdict
	Reason  frame.Reason
	Offload frame.Offload
	OrigLen int // bytes in the switch; Data may be shorter
	// Data is the frame from its destination MAC on.
	//
	// borrowed: valid until the next call of Ring.Next or Ring.Wait.
	Data []byte
}

// appendVerdict appends the comment for how the frame ended: "forwarded",
// "dropped: spoofed-mac"; nothing while it was under way.
func (r *Record) appendVerdict(b []byte) []byte {
	switch r.Verdict {
	case frame.Pending:
		return b
	case frame.Dropped:
		b = append(b, "dropped: "...)
		return append(b, r.Reason.String()...)
	}
	return append(b, r.Verdict.String()...)
}

// appendOffload appends the comment for work left undone, so that a reader does
// not take an unfinished checksum for a damaged one.
func (r *Record) appendOffload(b []byte) []byte {
	if name := gsoName(r.Offload.GSO.Kind()); name != "" {
		b = append(append(b, "superframe: "...), name...)
		b = strconv.AppendUint(append(b, " segments of "...), uint64(r.Offload.Size), 10)
		return append(b, " B, checksums unfinished"...)
	}
	if r.Offload.Flags&frame.NeedsCsum != 0 {
		return append(b, "checksum unfinished"...)
	}
	return b
}

func gsoName(g frame.GSO) string {
	switch g {
	case frame.GSOTCP4, frame.GSOTCP6:
		return "tcp"
	case frame.GSOUDP:
		return "udp"
	}
	return ""
}
