package nat

import (
	"net/netip"

	"weft/internal/frame"
)

// Rules say what is translated to what. They are immutable once set.
type Rules struct {
	// Inside are the networks of weft's own. Only from their addresses a frame
	// goes out, and one for them never leaves; none means that anybody may send.
	Inside []netip.Prefix
	// Outside are the addresses to appear as, IPv4 and IPv6. Without one of a
	// family nothing of that family goes out.
	Outside []netip.Addr
	// Reached are addresses inside that begin no flow: they only answer.
	Reached []netip.Addr
	// Ports to appear from; the zero value means 1 to 65535. What comes from a
	// port below 1024 stays below, all else above, as far as they last (RFC
	// 4787, 4.2.2).
	Ports PortRange
	// Published are the sockets that can be reached from the outside.
	Published []Published
	// MTU is the outside's, in bytes: TCP is told of it in SYNs of both
	// directions. 0 leaves them alone.
	MTU int
}

// A PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// A Published port leads from the outside to a socket inside.
type Published struct {
	Proto   uint8          // frame.ProtoTCP or frame.ProtoUDP
	Outside netip.AddrPort // an unspecified address means any of Rules.Outside of its family
	Inside  netip.AddrPort // of the same family
}

// A socket is an address, a port and what tells it from others of the same numbers.
type socket struct {
	addr addr
	port uint16
	kind kind
}

// An outside is an address that flows appear as.
type outside struct {
	addr  addr
	v6    bool
	ports *[kinds]portSet
}

// A ruleset is Rules in the form that creating a flow asks them.
type ruleset struct {
	inside     []network
	outside    []outside
	family     [2][]int          // the numbers of IPv4's and of IPv6's
	ports      [2]PortRange      // below 1024 and from there on; Last 0 when empty
	in         map[socket]socket // published, from outside to inside
	out        map[socket]socket // and back; address zero means any
	anyAddress [2]addr           // the unspecified addresses, IPv4's and IPv6's
	reached    map[addr]bool     // begin no flow
	mtu        int
}

// compile makes a ruleset, with the port sets of addresses that were there before.
func compile(r *Rules, old *ruleset) *ruleset {
	rs := &ruleset{
		mtu: r.MTU, reached: make(map[addr]bool, len(r.Reached)),
		in: make(map[socket]socket, len(r.Published)), out: make(map[socket]socket, len(r.Published)),
		anyAddress: [2]addr{addrOf(netip.IPv4Unspecified()), addrOf(netip.IPv6Unspecified())},
	}
	for _, a := range r.Reached {
		rs.reached[addrOf(a.Unmap())] = true
	}
	for _, p := range r.Inside {
		rs.inside = append(rs.inside, networkOf(p))
	}
	for _, a := range r.Outside {
		a = a.Unmap().WithZone("")
		o := outside{addr: addrOf(a), v6: a.Is6()}
		if !a.IsValid() || rs.outsideAt(o.addr) != nil {
			continue
		}
		if was := old.outsideAt(o.addr); was != nil {
			o.ports = was.ports
		} else {
			o.ports = new([kinds]portSet)
		}
		n := family(o.v6)
		rs.family[n] = append(rs.family[n], len(rs.outside))
		rs.outside = append(rs.outside, o)
	}
	first, last := r.Ports.First, r.Ports.Last
	if last == 0 {
		first, last = 1, 65535
	}
	if first = max(first, 1); first < 1024 {
		rs.ports[0] = PortRange{first, min(last, 1023)}
	}
	if last >= 1024 {
		rs.ports[1] = PortRange{max(first, 1024), last}
	}
	for _, p := range r.Published {
		k := kindTCP
		if p.Proto == frame.ProtoUDP {
			k = kindUDP
		}
		from := socket{addrOf(p.Outside.Addr().Unmap()), p.Outside.Port(), k}
		to := socket{addrOf(p.Inside.Addr().Unmap()), p.Inside.Port(), k}
		rs.in[from] = to
		if _, two := rs.out[to]; !two {
			rs.out[to] = from
		}
	}
	return rs
}

// outsideAt returns the outside address a is, nil if it is none.
func (rs *ruleset) outsideAt(a addr) *outside {
	if rs == nil {
		return nil
	}
	for i := range rs.outside {
		if rs.outside[i].addr == a {
			return &rs.outside[i]
		}
	}
	return nil
}

// isInside reports whether an address belongs to one of weft's own networks.
func (rs *ruleset) isInside(a addr) bool {
	for i := range rs.inside {
		if n := &rs.inside[i]; a.hi&n.mask.hi == n.base.hi && a.lo&n.mask.lo == n.base.lo {
			return true
		}
	}
	return false
}

// A network is a prefix as addresses are held against it.
type network struct{ base, mask addr }

func networkOf(p netip.Prefix) network {
	ones := p.Bits()
	if p.Addr().Is4() {
		ones += 96
	}
	mask := addr{^uint64(0), ^uint64(0)}
	if ones < 64 {
		mask.hi <<= 64 - ones
	}
	mask.lo <<= 128 - max(ones, 64)
	base := addrOf(p.Addr())
	return network{addr{base.hi & mask.hi, base.lo & mask.lo}, mask}
}

// target returns the socket that one of the outside is published for.
func (rs *ruleset) target(s socket, v6 bool) (socket, bool) {
	if len(rs.in) == 0 {
		return socket{}, false
	}
	if to, ok := rs.in[s]; ok {
		return to, true
	}
	s.addr = rs.unspecified(v6)
	to, ok := rs.in[s]
	return to, ok
}

// source returns the outside port that a socket is published by, and the address, if
// it is published by one alone.
func (rs *ruleset) source(s socket, v6 bool) (from socket, anyAddr, ok bool) {
	from, ok = rs.out[s]
	return from, ok && from.addr == rs.unspecified(v6), ok
}

func (rs *ruleset) unspecified(v6 bool) addr {
	return rs.anyAddress[family(v6)]
}

// family is the number of an address family.
func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// permits reports whether the rules would still make a flow of these tuples and this
// state.
func (rs *ruleset) permits(orig, xlat tuple, s uint64) bool {
	c := classOf(s, 0)
	if s&published != 0 {
		to, ok := rs.target(socket{orig.dst, orig.dport(), c.kind()}, c.v6())
		return ok && rs.outsideAt(orig.dst) != nil && to == socket{xlat.dst, xlat.dport(), c.kind()} &&
			(rs.outsideAt(orig.src) != nil) == (s&hairpin != 0)
	}
	if s&static != 0 {
		from, anyAddr, ok := rs.source(socket{orig.src, orig.sport(), c.kind()}, c.v6())
		if !ok || from.port != xlat.sport() || !anyAddr && from.addr != xlat.src {
			return false
		}
	}
	back, r := rs.admits(orig, c)
	return rs.outsideAt(xlat.src) != nil && r == frame.NotDropped && back == (s&hairpin != 0)
}

// admits judges whether a packet from the inside may go out, and tells whether it comes
// in again.
func (rs *ruleset) admits(t tuple, c class) (back bool, r frame.Reason) {
	switch {
	case rs.reached[t.src]:
		return false, frame.NoRoute
	case t.src == t.dst:
		return false, frame.Land
	case !t.src.isHost() || !t.dst.isHost() || rs.outsideAt(t.src) != nil || len(rs.inside) > 0 && !rs.isInside(t.src):
		return false, frame.Martian
	case rs.outsideAt(t.dst) != nil:
		return true, frame.NotDropped
	case rs.isInside(t.dst):
		return false, frame.StaysInside
	case len(rs.family[family(c.v6())]) == 0:
		return false, frame.NoRoute
	}
	return false, frame.NotDropped
}

// accepts judges whether a packet from the outside may come in.
func (rs *ruleset) accepts(t tuple) frame.Reason {
	switch {
	case t.src == t.dst:
		return frame.Land
	case !t.src.isHost() || rs.isInside(t.src) || rs.outsideAt(t.src) != nil:
		return frame.Martian
	}
	return frame.NotDropped
}

// isHost reports whether an address can be one host's beyond a router: not loopback,
// link-local, multicast, of the network 0/8 or class E (RFC 6890).
func (a addr) isHost() bool {
	if a.v4() {
		first, second := byte(a.lo>>24), byte(a.lo>>16)
		return first != 0 && first != 127 && first < 224 && (first != 169 || second != 254)
	}
	multicast, linkLocal := a.hi>>56 == 0xff, a.hi>>54 == 0xfe80>>6
	special := a.hi == 0 && (a.lo <= 1 || a.lo>>32 == 0) // unspecified, loopback, IPv4-compatible
	return !multicast && !linkLocal && !special
}
