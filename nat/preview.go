package nat

import (
	"fmt"
	"net/netip"

	"weft/internal/frame"
)

// Preview says what Outbound, or Inbound, would do with a frame as things are: it rewrites
// the frame, keeps nothing, and says in words by what. A flow that would be new is shown
// with the port it has inside, which it keeps if nobody has it outside. Of a fragment that
// is not its datagram's first nothing can be said: it goes where that went.
func (t *Table) Preview(f *frame.Frame, inside bool) (Side, string, frame.Reason) {
	from := class(0)
	if inside {
		from = classInside
	}
	var p packet
	if r := p.readAddresses(f, from); r != frame.NotDropped {
		return Outside, "", r
	}
	switch {
	case p.ttl <= 1:
		return Outside, "", frame.TTLExceeded
	case f.View.Later:
		return Outside, "as its datagram's first fragment, which is not looked for", frame.StrayFragment
	}
	isError, r := p.readTransport(f)
	if r != frame.NotDropped {
		return Outside, "", r
	}
	if isError {
		side, r := t.translateError(f, &p)
		return side, "an error about a packet of a flow", r
	}
	way, words, again, r := t.foresee(f, &p)
	if r != frame.NotDropped {
		return Outside, "", r
	}
	side := Outside
	if !inside {
		side = Inside
	}
	if again {
		in := p
		in.tuple, in.hairpin, in.c = way, true, p.c&^classInside
		var how string
		if way, how, _, r = t.foresee(f, &in); r != frame.NotDropped {
			return Outside, "", r
		}
		side, words = Inside, words+", and back in by "+how
	}
	words = fmt.Sprintf("%s becomes %s by %s", &p.tuple, &way, words)
	p.rewrite(f, &way)
	return side, words, frame.NotDropped
}

// foresee returns what a packet's tuple would become, by what, and whether that is for the
// inside again.
func (t *Table) foresee(f *frame.Frame, p *packet) (to tuple, words string, again bool, r frame.Reason) {
	p.hash = t.keys.tuple(&p.tuple, p.c)
	var h hit
	if t.find(&p.tuple, p.c, p.hash, &h) {
		return h.to, "a flow that there is", p.c.inside() && h.s&hairpin != 0, frame.NotDropped
	}
	if _, r = p.begin(f); r != frame.NotDropped {
		return to, "", false, r
	}
	rs := t.rules.Load()
	made, r := p.plan(rs)
	if r != frame.NotDropped {
		return to, "", false, r
	}
	if !p.c.inside() {
		return made.xlat, "a published port", false, frame.NotDropped
	}
	to = p.tuple
	again = rs.outsideAt(p.dst) != nil
	if o := rs.paired(t.keys.host(p.src), p.c.v6(), 0); o != nil {
		to.src = o.addr
	}
	from, anyAddr, ok := rs.source(socket{p.src, p.sport(), p.c.kind()}, p.c.v6())
	if !ok {
		return to, "a new flow", again, frame.NotDropped
	}
	if !anyAddr {
		to.src = from.addr
	}
	to.ports = join(from.port, p.dport())
	return to, "the port that it is published by", again, frame.NotDropped
}

// String writes a tuple as SOURCE>DESTINATION.
func (t *tuple) String() string {
	return netip.AddrPortFrom(t.src.netip(), t.sport()).String() + ">" + netip.AddrPortFrom(t.dst.netip(), t.dport()).String()
}
