package vswitch

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"weft/internal/frame"
)

var (
	g1, g2 = netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("239.1.2.4")
	g6     = netip.MustParseAddr("ff05::1:3")
	to3    = netip.MustParseAddr("224.0.0.22")
	to6    = netip.MustParseAddr("ff02::16")
)

// A snoopNet has the guarded ports a, b and c (MACs 2, 3, 4), the tunnels t1 and
// t2, and an unguarded local port u. It has asked everybody at second 1000, and
// it is 1030.
type snoopNet struct {
	*testNet
	now uint32
}

func newSnoopNet(t testing.TB, c DomainConfig) *snoopNet {
	c.Snooping, c.GatewayMAC, c.Gateways = true, mac(1), []netip.Addr{ip(1)}
	n := &snoopNet{newNet(t, c), 1000}
	for i, name := range []string{"a", "b", "c"} {
		last := byte(i + 2)
		n.add(name, PortConfig{MAC: mac(last), Addrs: []netip.Addr{ip(last), ip6(last)}})
	}
	n.add("t1", PortConfig{Horizon: 1})
	n.add("t2", PortConfig{Horizon: 1})
	n.add("u", PortConfig{})
	n.wait(0)
	n.wait(30)
	return n
}

// wait lets time pass, as the node does: Tick, and Queries at every second.
func (n *snoopNet) wait(seconds uint32) (queries [][]byte) {
	for end := n.now + seconds; ; n.now++ {
		n.sw.Tick(n.now)
		queries = append(queries, n.sw.Queries(n.domain, n.now)...)
		if n.now >= end {
			return queries
		}
	}
}

// say4 has a port report or leave, by an IGMPv3 record.
func (n *snoopNet) say4(port string, kind byte, g netip.Addr) map[string][][]byte {
	src, from := n.host(port)
	return n.inject(n.cables[port], igmp4(src, from, to3, report3(record(kind, g.String()))))
}

func (n *snoopNet) say6(port string, kind byte, g netip.Addr) map[string][][]byte {
	src, _ := n.host(port)
	return n.inject(n.cables[port], mld6(src, netip.AddrFrom16(linkLocal(src)), to6, report6(record(kind, g.String()))))
}

// host returns who sits behind a port.
func (n *snoopNet) host(port string) (frame.MAC, netip.Addr) {
	last := map[string]byte{"a": 2, "b": 3, "c": 4, "t1": 21, "t2": 22, "u": 30}[port]
	return mac(last), ip(last)
}

// data sends a datagram to a group and returns where it came out.
func (n *snoopNet) data(port string, g netip.Addr) []string {
	src, from := n.host(port)
	var data []byte
	if g.Is4() {
		data = udp4(n.t, src, groupMAC(g), from, g, 5000, 5001, 30)
	} else {
		data = udp6(n.t, src, groupMAC(g), ip6(src[5]), g, 5000, 5001)
	}
	out := n.inject(n.cables[port], data)
	for name, fs := range out {
		if len(fs) != 1 || !bytes.Equal(fs[0], data) {
			n.t.Errorf("%s got %d frames, the first not the one sent", name, len(fs))
		}
	}
	return names(out)
}

func (n *snoopNet) wantData(when, port string, g netip.Addr, want ...string) {
	n.t.Helper()
	before := n.cables[port].port.Stats()
	if got := n.data(port, g); !slices.Equal(got, want) {
		n.t.Errorf("%s: %v from %s reached %v, want %v", when, g, port, got, want)
	}
	reason := frame.NotDropped
	if len(want) == 0 {
		reason = frame.NoListener
	}
	if r, _ := dropped(before, n.cables[port].port.Stats()); r != reason {
		n.t.Errorf("%s: %v from %s dropped for %v, want %v", when, g, port, r, reason)
	}
}

func TestSnooping(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	for _, g := range []netip.Addr{g1, g6} {
		say := n.say4
		if g == g6 {
			say = n.say6
		}
		n.wantData("nobody listens", "a", g)
		if got := names(say("b", 4, g)); !slices.Equal(got, []string{"t1", "t2", "u"}) {
			t.Errorf("a report of %v reached %v, want tunnels and the unguarded port", g, got)
		}
		n.wantData("b listens", "a", g, "b")
		n.wantData("from who alone listens", "b", g)
		if got := names(say("t1", 4, g)); !slices.Equal(got, []string{"u"}) {
			t.Errorf("a report of %v through a tunnel reached %v, want the unguarded port", g, got)
		}
		n.wantData("behind a tunnel", "a", g, "b", "t1")
		n.wantData("split horizon", "t1", g, "b")
		say("b", 3, g)
		n.wantData("b left", "a", g, "t1")
		say("b", 2, g)
		n.wantData("b is back", "c", g, "b", "t1")
	}
	n.wantData("another group", "a", g2)
	checkConservation(t, n.testNet)
}

// TestTunnelsOnly: a group whose only other listeners are behind the horizon.
func TestTunnelsOnly(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.say4("t1", 4, g1)
	before := n.cables["t2"].port.Stats()
	out := n.data("t2", g1)
	if r, _ := dropped(before, n.cables["t2"].port.Stats()); len(out) != 0 || r != frame.SplitHorizon {
		t.Errorf("between tunnels: reached %v, dropped for %v", out, r)
	}
}

// TestFlooded: what snooping leaves alone.
func TestFlooded(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.say4("b", 4, g1)
	all := []string{"b", "c", "t1", "t2", "u"}
	ll := netip.AddrFrom16(linkLocal(mac(2)))
	solicited := addr("ff02::1:ff00:9")
	target := ip6(9).As16()
	tests := map[string][]byte{
		"224.0.0.251":              udp4(t, mac(2), groupMAC(addr("224.0.0.251")), ip(2), addr("224.0.0.251"), 5353, 5353, 9),
		"ff02::fb":                 udp6(t, mac(2), groupMAC(addr("ff02::fb")), ip6(2), addr("ff02::fb"), 5353, 5353),
		"ff01::1":                  udp6(t, mac(2), groupMAC(addr("ff01::1")), ip6(2), addr("ff01::1"), 1, 1),
		"neighbour solicitation":   icmp6(t, mac(2), groupMAC(solicited), ll, solicited, 135, append(make([]byte, 4), target[:]...)),
		"broadcast":                udp4(t, mac(2), broadcast, ip(2), addr("239.1.2.4"), 1, 2, 9),
		"tagged":                   tags(udp4(t, mac(2), groupMAC(g1), ip(2), g1, 1, 2, 9), 7),
		"not IP":                   raw(t, mac(2), frame.MAC{1, 0, 0x5e, 1, 2, 3}),
		"a host's address":         udp4(t, mac(2), groupMAC(g1), ip(2), ip(9), 1, 2, 9),
		"unknown IGMP":             igmp4(mac(2), ip(2), g1, plain4(0x13, 0, "239.1.2.3")),
		"limited broadcast inside": udp4(t, mac(2), groupMAC(g1), ip(2), addr("255.255.255.255"), 1, 2, 9),
	}
	for name, data := range tests {
		tr := n.sw.Trace(n.cables["a"].port, data, frame.Offload{})
		out := n.inject(n.cables["a"], data)
		if got := names(out); !slices.Equal(got, all) {
			t.Errorf("%s reached %v, want %v", name, got, all)
		}
		checkTrace(t, tr, out, 0)
	}
	// A priority tag names no VLAN.
	if got := names(n.inject(n.cables["a"], tags(udp4(t, mac(2), groupMAC(g1), ip(2), g1, 1, 2, 9), 0))); !slices.Equal(got, []string{"b"}) {
		t.Errorf("with a priority tag: reached %v, want b", got)
	}
	n.say4("b", 4, addr("224.0.0.251"))
	n.say6("b", 4, solicited)
	if rows := n.domain.Groups(); len(rows) != 1 {
		t.Errorf("groups of the link were entered: %v", rows)
	}
}

// TestNotSnooping: without the option nothing changes.
func TestNotSnooping(t *testing.T) {
	n := newNet(t, DomainConfig{})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	n.add("b", PortConfig{})
	for _, data := range [][]byte{igmp4(mac(2), ip(2), to3, report3(record(4, "239.1.2.3"))), igmp4(mac(2), ip(2), addr("224.0.0.1"), plain4(0x11, 9, "0.0.0.0")),
		udp4(t, mac(2), groupMAC(g1), ip(2), g1, 1, 2, 3)} {
		if got := names(n.inject(a, data)); !slices.Equal(got, []string{"b"}) {
			t.Errorf("reached %v, want b", got)
		}
	}
	if n.domain.Groups() != nil || n.domain.Routers() != nil || n.sw.Queries(n.domain, 5) != nil {
		t.Error("a domain that does not snoop knows groups or asks")
	}
}

func TestGroupAges(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.say4("b", 4, g1)
	n.say6("c", 4, g6)
	n.wait(groupAge - 1)
	n.wantData("before its time", "a", g1, "b")
	n.say4("b", 2, g1)
	n.wait(1)
	n.wantData("reported again", "a", g1, "b")
	n.wantData("not reported again", "a", g6)
	if rows := n.domain.Groups(); len(rows) != 1 || rows[0] != (GroupEntry{g1, n.cables["b"].port, groupAge - 1}) {
		t.Errorf("groups: %+v", rows)
	}
	n.wait(groupAge)
	if s := n.domain.Stats(); s.Groups != 0 || n.cables["b"].port.groups != 0 {
		t.Errorf("%d groups are left, %d on b", s.Groups, n.cables["b"].port.groups)
	}
}

// TestLeaveBehindSharedPort: others behind a tunnel may listen still.
func TestLeaveBehindSharedPort(t *testing.T) {
	for _, stays := range []bool{false, true} {
		t.Run(fmt.Sprintf("stays=%v", stays), func(t *testing.T) {
			n := newSnoopNet(t, DomainConfig{})
			for _, g := range []netip.Addr{g1, g6} {
				say := n.say4
				if g == g6 {
					say = n.say6
				}
				say("t1", 4, g)
				say("b", 4, g)
				say("t1", 3, g)
				n.wantData("just left", "a", g, "b", "t1")
				asked := n.wait(1)
				if len(asked) != lastMemberQueries {
					t.Fatalf("%d queries after a leave of %v, want %d", len(asked), g, lastMemberQueries)
				}
				if got, want := sayAll(t, asked), "query "+g.String()+" in 1s"; got[0] != want || got[1] != want {
					t.Errorf("asked %q, want %q", got, want)
				}
				if stays {
					say("t1", 2, g)
				}
				more := n.wait(lastMemberTime)
				if len(more) != 0 {
					t.Errorf("went on asking: %q", sayAll(t, more))
				}
				if stays {
					n.wantData("stayed", "a", g, "b", "t1")
				} else {
					n.wantData("left", "a", g, "b")
				}
			}
		})
	}
}

// TestLeaveTakenBack: a report after the leave makes asking needless.
func TestLeaveTakenBack(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	for _, kind := range []byte{4, 3, 4} {
		n.say4("t1", kind, g1)
	}
	if q := n.wait(lastMemberTime + 1); len(q) != 0 {
		t.Errorf("asked %q", sayAll(t, q))
	}
	n.wantData("came back", "a", g1, "t1")
}

// TestLeaveWhereAnotherAsks: the router does what has to be done.
func TestLeaveWhereAnotherAsks(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.inject(n.cables["u"], general4(mac(30), ip(30)))
	n.say4("t1", 4, g1)
	n.say4("t1", 3, g1)
	if q := n.wait(lastMemberTime + 1); len(q) != 0 {
		t.Errorf("asked %q in another's place", sayAll(t, q))
	}
	n.wantData("until it ages", "a", g1, "t1", "u")
}

// TestListenerWithoutUntagged: a port that does not carry untagged frames is sent
// none, whatever it says it listens to.
func TestListenerWithoutUntagged(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.add("v", PortConfig{VLANs: []uint16{5}})
	n.wantData("a fresh port", "a", g1)
	n.inject(n.cables["v"], tags(igmp4(mac(50), ip(50), to3, report3(record(4, "239.1.2.3"))), 5))
	n.wantData("reported on a VLAN", "a", g1)
}

func sayAll(t *testing.T, frames [][]byte) (out []string) {
	for _, f := range frames {
		out = append(out, say(t, f))
	}
	return out
}

// TestOldReports: of versions 1 and 2, and MLD version 1.
func TestOldReports(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	for _, kind := range []byte{0x12, 0x16} {
		out := n.inject(n.cables["b"], igmp4(mac(3), ip(3), g1, plain4(kind, 0, g1.String())))
		if got := names(out); !slices.Equal(got, []string{"t1", "t2", "u"}) {
			t.Errorf("a report of kind %#x reached %v: an endpoint that hears it keeps its own to itself", kind, got)
		}
		n.wantData("reported", "a", g1, "b")
		n.inject(n.cables["b"], igmp4(mac(3), ip(3), addr("224.0.0.2"), plain4(0x17, 0, g1.String())))
		n.wantData("left", "a", g1)
	}
	ll := netip.AddrFrom16(linkLocal(mac(3)))
	n.inject(n.cables["b"], mld6(mac(3), ll, g6, plain6(131, 0, g6.String())))
	n.wantData("reported", "a", g6, "b")
	n.inject(n.cables["b"], mld6(mac(3), ll, addr("ff02::2"), plain6(132, 0, g6.String())))
	n.wantData("done", "a", g6)
}

// TestReportForNobody: among endpoints alone a report is the switch's.
func TestReportForNobody(t *testing.T) {
	n := newNet(t, DomainConfig{Snooping: true})
	a := n.add("a", PortConfig{MAC: mac(2), Addrs: []netip.Addr{ip(2)}})
	n.add("b", PortConfig{MAC: mac(3)})
	data := igmp4(mac(2), ip(2), to3, report3(record(4, "239.1.2.3")))
	tr := n.sw.Trace(a.port, data, frame.Offload{})
	if len(n.domain.Groups()) != 0 {
		t.Error("a trace taught the table")
	}
	out := n.inject(a, data)
	if s := a.port.Stats(); len(out) != 0 || s.Consumed != 1 || s.DroppedTotal() != 0 {
		t.Errorf("reached %v, %+v", names(out), s)
	}
	if tr.Verdict != frame.Consumed || tr.Steps[len(tr.Steps)-1].Name != "snoop" {
		t.Errorf("trace said %+v", tr)
	}
	checkConservation(t, n)
}

// TestMalformedTeachesNothing and goes nowhere (RFC 4541, 2.1.1 (5)).
func TestMalformedTeachesNothing(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	data := igmp4(mac(2), ip(2), to3, report3(record(4, "239.1.2.3")))
	data[len(data)-1]++
	before := n.cables["a"].port.Stats()
	tr := n.sw.Trace(n.cables["a"].port, data, frame.Offload{})
	out := n.inject(n.cables["a"], data)
	if r, _ := dropped(before, n.cables["a"].port.Stats()); len(out) != 0 || r != frame.BadIGMP || len(n.domain.Groups()) != 0 {
		t.Errorf("reached %v, dropped for %v, groups %v", names(out), r, n.domain.Groups())
	}
	checkTrace(t, tr, out, frame.BadIGMP)
}

// TestFullTable: what found no room is not starved, and who filled the table
// takes no one else's.
func TestFullTable(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{MaxGroups: 64})
	group := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{239, 9, byte(i >> 8), byte(i)}) }
	var records [][]byte
	for i := range 3000 {
		records = append(records, record(4, group(i).String()))
	}
	n.inject(n.cables["a"], igmp4(mac(2), ip(2), to3, report3(records...)))
	if s := n.domain.Stats(); s.Groups != 16 || s.GroupsFull != 3000-16 {
		t.Errorf("one endpoint entered %d groups of 64, %d refused; it may have a quarter", s.Groups, s.GroupsFull)
	}
	n.wantData("beyond the endpoint's share", "b", group(2999), "a")
	n.wantData("within", "b", group(0), "a")
	n.say4("c", 4, g1)
	n.wantData("another endpoint's", "b", g1, "a", "c")
	// A tunnel may fill it.
	n.inject(n.cables["t1"], igmp4(mac(21), ip(21), to3, report3(records...)))
	if s := n.domain.Stats(); s.Groups > 64 || s.Groups < 48 {
		t.Errorf("a tunnel left %d groups of 64", s.Groups)
	}
	n.say4("b", 4, g2)
	n.wantData("no room at all", "c", g2, "a", "b", "t1")
	n.wait(groupAge)
	n.wantData("all has aged", "c", g2)
	if s := n.domain.Stats(); s.Groups != 0 {
		t.Errorf("%d groups left", s.Groups)
	}
	for name, c := range n.cables {
		if c.port.groups != 0 {
			t.Errorf("%s has %d groups of none", name, c.port.groups)
		}
	}
	checkConservation(t, n.testNet)
}

// TestHugeSourceLists costs no more than its bytes.
func TestHugeSourceLists(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	r := record(4, "239.1.2.3", slices.Repeat([]string{"10.0.0.9"}, 16000)...)
	n.inject(n.cables["b"], igmp4(mac(3), ip(3), to3, report3(r)))
	n.wantData("16,000 sources", "a", g1, "b")
}

// TestRemovedPortIsForgotten: its slot is given to another, who listens to
// nothing.
func TestRemovedPortIsForgotten(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.say4("b", 4, g1)
	b := n.cables["b"]
	n.sw.RemovePort(b.port)
	delete(n.cables, "b")
	if rows := n.domain.Groups(); len(rows) != 0 {
		t.Errorf("groups of a removed port: %v", rows)
	}
	n.wantData("removed", "a", g1)
	// A turn that began before may note it once more, until RemovePort returns.
	n.domain.snoop.groups.join(groupKey4(g1.AsSlice()), b.port, n.now)
	n.domain.snoop.take(ip4Family, taker{port: b.port, until: n.now + 1})
	b.out = nil
	n.wantData("noted once more", "a", g1)
	if len(b.out) != 0 {
		t.Error("a removed port was written to")
	}
	n.domain.snoop.forget(b.port)
	n.add("b2", PortConfig{MAC: mac(3)})
	n.wantData("a new port takes all until it has been asked", "a", g1, "b2")
	n.wait(2*queryResponse + 1)
	n.wantData("it has not answered", "a", g1)
}

// TestSnoopedPathDoesNotAllocate covers data with and without listeners, to
// takers, and reports of what is known.
func TestSnoopedPathDoesNotAllocate(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{})
	n.inject(n.cables["u"], igmp4(mac(30), ip(30), addr("224.0.0.1"), plain4(0x11, 100, "0.0.0.0")))
	n.say4("b", 4, g1)
	n.say6("b", 4, g6)
	a := n.cables["a"]
	for _, c := range n.cables {
		c.quiet = true
	}
	super, off := superframe(t, mac(2), groupMAC(g1), 20000, 1400)
	copy(super[30:], g1.AsSlice())
	frame.SetIPv4Checksum(super[14:])
	cases := map[string]sent{
		"listeners":   {udp4(t, mac(2), groupMAC(g1), ip(2), g1, 1, 2, 3), frame.Offload{}},
		"listeners 6": {udp6(t, mac(2), groupMAC(g6), ip6(2), g6, 1, 2), frame.Offload{}},
		"nobody":      {udp4(t, mac(2), groupMAC(g2), ip(2), g2, 1, 2, 3), frame.Offload{}},
		"report":      {igmp4(mac(2), ip(2), to3, report3(record(2, "239.1.2.3"))), frame.Offload{}},
		"malformed":   {igmp4(mac(2), ip(2), to3, nil), frame.Offload{}},
		"superframe":  {super, off},
	}
	for name, c := range cases {
		queue := slices.Repeat([]sent{c}, 2)
		if got := testing.AllocsPerRun(50, func() {
			n.sw.now.Add(1)
			a.in = queue
			if _, err := n.w.Turn(a.port); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations a turn", name, got)
		}
	}
	checkConservation(t, n.testNet)
}

// TestConcurrentSnoop has two workers learn and forward while ports that listen
// come and go; -race is the oracle, and no port is written to after RemovePort has
// returned.
func TestConcurrentSnoop(t *testing.T) {
	n := newSnoopNet(t, DomainConfig{MaxGroups: 8})
	w2, err := n.sw.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range n.cables {
		c.quiet = true
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	pump := func(w *Worker, port string) {
		defer wg.Done()
		src, from := n.host(port)
		var frames []sent
		for i := range byte(10) {
			g := netip.AddrFrom4([4]byte{239, 0, 0, i})
			frames = append(frames,
				sent{igmp4(src, from, to3, report3(record(4, g.String()))), frame.Offload{}},
				sent{udp4(t, src, groupMAC(g), from, g, 1, 2, 3), frame.Offload{}},
				sent{igmp4(src, from, to3, report3(record(3, g.String()))), frame.Offload{}})
		}
		for ctx.Err() == nil {
			n.cables[port].in = frames
			if _, err := w.Turn(n.cables[port].port); err != nil {
				t.Error(err)
			}
		}
	}
	var removed atomic.Uint64
	wg.Add(2)
	go pump(n.w, "t1")
	go func() {
		defer wg.Done()
		join := igmp4(mac(99), ip(99), to3, report3(record(4, "239.0.0.1")))
		for ctx.Err() == nil {
			q := &joiner{join: join}
			p, err := n.sw.AddPort(PortConfig{Name: "x", Domain: n.domain}, q)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = w2.Turn(p)
			n.sw.RemovePort(p)
			q.closed.Store(true)
			removed.Add(1)
		}
	}()
	for n.cables["t1"].port.Stats().InFrames < 1000 || removed.Load() < 10 { // both are under way
		runtime.Gosched()
	}
	for i := range uint32(300) {
		n.sw.Tick(n.now + 100*i)
		n.sw.Queries(n.domain, n.now+100*i)
		n.domain.Groups()
		n.domain.Routers()
	}
	stop()
	wg.Wait()
	checkConservation(t, n.testNet)
}

// A joiner delivers a report in every batch, and panics when written to after it
// was closed.
type joiner struct {
	guarded
	join []byte
}

func (j *joiner) ReadBatch(b *frame.Batch) (int, error) {
	b.Append(j.join)
	return 1, nil
}

// FuzzSnoop: whatever a tunnel or an endpoint says, every frame is accounted for,
// the trace foretells the path, and the table keeps its bound.
func FuzzSnoop(f *testing.F) {
	f.Add(report3(record(4, "239.1.2.3"), record(3, "239.1.2.3")), false, uint32(1))
	f.Add(report6(record(4, "ff05::1:3"), record(3, "ff05::1:3")), true, uint32(300))
	f.Add(plain4(0x11, 200, "0.0.0.0"), false, uint32(0))
	f.Add(plain6(130, 10000, "ff05::1:3"), true, uint32(3))
	n := newSnoopNet(f, DomainConfig{MaxGroups: 8})
	for _, c := range n.cables {
		c.quiet = true
	}
	f.Fuzz(func(t *testing.T, body []byte, six bool, pass uint32) {
		if len(body) > 60000 {
			return
		}
		for i, name := range []string{"a", "t1"} {
			src, from := n.host(name)
			data := igmp4(src, from, g1, body)
			if six {
				data = mld6(src, netip.AddrFrom16(linkLocal(src)), g6, body)
			}
			c := n.cables[name]
			tr := n.sw.Trace(c.port, data, frame.Offload{})
			before := c.port.Stats()
			c.in = []sent{{data, frame.Offload{}}}
			if _, err := n.w.Turn(c.port); err != nil {
				t.Fatal(err)
			}
			r, _ := dropped(before, c.port.Stats())
			if tr.Verdict == frame.Dropped && r != tr.Reason {
				t.Fatalf("trace foretold %v, the path did %v", tr.Reason, r)
			}
			if s := n.domain.Stats(); s.Groups > 8 {
				t.Fatalf("%d groups of 8", s.Groups)
			}
			n.now += pass % 400 * uint32(i)
			n.wait(0)
		}
		checkConservation(t, n.testNet)
	})
}
