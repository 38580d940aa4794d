package vswitch

import (
	"encoding/binary"

	"weft/internal/frame"
)

// Theory of operation.
//
// A tunnel carries less than the links behind it. Hosts that know their network's
// MTU never notice; for the others there are two ways to be told, both taken
// here, for unicast frames only: a flooded frame is read-only, and nobody is to
// be told by many.
//
//   - A TCP SYN says how large the segments may be that its sender wants (RFC
//     9293, 3.7.1): it is made to want what the tunnel carries.
//   - A packet that does not fit and must not be fragmented is dropped, and its
//     sender told: fragmentation needed (RFC 792, RFC 1191) or packet too big (RFC
//     4443, 3.2). The switch has no address the sender must know, so the message
//     comes from the one that the packet was for, as the Linux kernel's tunnels
//     have it. A TCP superframe is told of whatever its don't-fragment bit says,
//     since cutting it is what makes its packets.
//
// The messages are frames of the switch's own, at most one for a frame of the
// batch and maxTooBig in a second. They never answer an error message, nor a
// fragment other than the first, nor what has no single sender or receiver (RFC
// 1122, 3.2.2; RFC 4443, 2.4 e).

// maxTooBig is the number of messages a worker sends in a second of the coarse
// clock.
const maxTooBig = 200

// A tooBigBudget is what is left of it.
type tooBigBudget struct {
	second uint32
	spent  int
}

// take spends one message and reports whether there was one.
func (t *tooBigBudget) take(now uint32) bool {
	if t.second != now {
		t.second, t.spent = now, 0
	}
	if t.spent == maxTooBig {
		return false
	}
	t.spent++
	return true
}

// clamp is the step for a frame that leaves through a tunnel alone: it lowers
// what a SYN asks for, and refuses what does not fit, telling the sender.
func (w *Worker) clamp(in, out *Port, f *frame.Frame) frame.Reason {
	mtu := out.room(out.MTU(), f)
	if mtu == 0 {
		return frame.NotDropped
	}
	if at, limit := excessMSS(f, mtu); at != 0 {
		w.save(f, in.capture.Load())
		setMSS(f, at, limit)
	}
	if !tooBig(mtu, f) {
		return frame.NotDropped
	}
	if !w.quiet {
		out.counters[w.index].outDropped[frame.TooBig].Add(1)
	}
	if wantsTooBig(f) && w.tooBig.take(w.now) {
		w.sendTooBig(in, f, mtu)
	}
	return frame.TooBig
}

// TCP: the SYN bit (RFC 9293, 3.1) and the options looked at (3.2).
const (
	tcpSYN    = 0x02
	optEnd    = 0
	optNop    = 1
	optMSS    = 2
	optMSSLen = 4
)

// excessMSS returns where a SYN asks for a maximum segment size that does not fit a
// packet of mtu bytes, and the one that does, IP and TCP headers taken without
// options (RFC 6691, 2); zeroes if it does not. A SYN without the option stays so:
// 536 and 1,220 bytes fit everywhere.
func excessMSS(f *frame.Frame, mtu int) (at, limit int) {
	if at = findMSS(f); at == 0 {
		return 0, 0
	}
	limit = mtu - 40
	if f.View.EtherType == frame.EtherIPv6 {
		limit = mtu - 60
	}
	if limit <= 0 || limit >= int(binary.BigEndian.Uint16(f.Bytes()[at:])) {
		return 0, 0
	}
	return at, limit
}

// setMSS rewrites the option and what the checksum says of it.
func setMSS(f *frame.Frame, at, limit int) {
	b, l4 := f.Bytes(), int(f.View.L4)
	old := binary.BigEndian.Uint16(b[at:])
	binary.BigEndian.PutUint16(b[at:], uint16(limit))
	if f.Offload.Flags&frame.NeedsCsum != 0 {
		return // the field holds the pseudo-header's sum alone
	}
	now := uint16(limit)
	if (at-l4)%2 == 1 { // lies across two words of the sum
		old, now = old<<8|old>>8, now<<8|now>>8
	}
	sum := b[l4+16 : l4+18]
	binary.BigEndian.PutUint16(sum, adjust(binary.BigEndian.Uint16(sum), old, now))
}

// findMSS returns where the value of a SYN's maximum segment size option lies, 0
// when the frame has none.
func findMSS(f *frame.Frame) int {
	v, b := &f.View, f.Bytes()
	if v.Proto != frame.ProtoTCP || v.L4 == 0 || v.Fragment || b[v.L4+13]&tcpSYN == 0 {
		return 0
	}
	for at, end := int(v.L4)+20, int(v.Payload); at < end; {
		kind := b[at]
		if kind == optNop {
			at++
			continue
		}
		if kind == optEnd || at+2 > end {
			return 0
		}
		n := int(b[at+1])
		if n < 2 || at+n > end {
			return 0
		}
		if kind == optMSS && n == optMSSLen {
			return at + 2
		}
		at += n
	}
	return 0
}
