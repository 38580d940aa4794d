package nat

import (
	"net/netip"

	"weft/internal/frame"
)

// MaxAnswer is the length of the longest frame that [Answer] makes, in bytes.
const MaxAnswer = 1280 + frame.EtherLen + 8

// Answer writes into m, of [MaxAnswer] bytes, the frame that tells the sender of f why
// it was dropped, and returns its length; 0 when the sender is to hear nothing. f is as
// it was given to Outbound or Inbound, which returned r. gateway is the router's address
// on the sender's side, of the family of f; the frame comes from the MAC f was sent to.
//
// Told are: no hop left (time exceeded); no way out (no route); a network of weft's own
// (administratively prohibited, RFC 1812, 5.2.7.1 and RFC 4443, 3.1); too many flows or no
// port (host unreachable, RFC 6888, REQ-8 B); a protocol that cannot be translated
// (protocol unreachable; version 6: prohibited); and, of what came from inside, nobody
// at a port of the outside's own (TCP: a reset; port unreachable). Connections that are
// refused for policy are reset, so that nobody waits for them.
//
// What came from the outside and has no flow is not to be answered: who knocks need
// not learn that there is a door (RFC 5382, REQ-4, would have it after six seconds).
// How often to answer is the caller's to limit (RFC 1812, 4.3.2.8).
func Answer(m []byte, f *frame.Frame, r frame.Reason, gateway netip.Addr) int {
	v6 := f.View.EtherType == frame.EtherIPv6
	if !f.WantsError() || !gateway.IsValid() || gateway.Is6() != v6 {
		return 0
	}
	e := answer4(r)
	if v6 {
		e = answer6(r)
	}
	if e.Type == 0 {
		return 0
	}
	if r == frame.StaysInside || r == frame.NoFlow {
		if n := f.PutReset(m); n != 0 {
			return n
		}
		if f.View.Proto == frame.ProtoTCP {
			return 0
		}
	}
	a := gateway.As16()
	from := a[:]
	if !v6 {
		from = a[12:]
	}
	return f.PutError(m, e, from)
}

// answer4 returns the message for a reason (RFC 792; RFC 1812, 5.2.7.1), the zero one
// when there is none.
func answer4(r frame.Reason) frame.ICMPError {
	switch r {
	case frame.TTLExceeded:
		return frame.ICMPError{Type: 11}
	case frame.NoRoute:
		return frame.ICMPError{Type: 3, Code: 0}
	case frame.FlowsFull, frame.SourceFlows, frame.PortsFull, frame.TupleTaken:
		return frame.ICMPError{Type: 3, Code: 1}
	case frame.NoPorts:
		return frame.ICMPError{Type: 3, Code: 2}
	case frame.NoFlow:
		return frame.ICMPError{Type: 3, Code: 3}
	case frame.StaysInside:
		return frame.ICMPError{Type: 3, Code: 13}
	}
	return frame.ICMPError{}
}

// answer6 returns the message for a reason (RFC 4443, 3).
func answer6(r frame.Reason) frame.ICMPError {
	switch r {
	case frame.TTLExceeded:
		return frame.ICMPError{Type: 3}
	case frame.NoRoute:
		return frame.ICMPError{Type: 1, Code: 0}
	case frame.StaysInside, frame.NoPorts:
		return frame.ICMPError{Type: 1, Code: 1}
	case frame.FlowsFull, frame.SourceFlows, frame.PortsFull, frame.TupleTaken:
		return frame.ICMPError{Type: 1, Code: 3}
	case frame.NoFlow:
		return frame.ICMPError{Type: 1, Code: 4}
	}
	return frame.ICMPError{}
}
