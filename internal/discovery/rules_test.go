package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// world is a table with networks front and back (overlays), local (a bridge), and what
// the rules are about.
func world(t testing.TB) *Table {
	tb := NewTable(TableConfig{Stats: &Stats{}})
	rose := ep("front", "e1", "Rose,flower,0123456789ab,rosehost", "10.0.1.2,fd00:1::2,169.254.3.3,fe80::3")
	rose.Ports = []Port{{Number: 80, Published: 8080, Protocol: "tcp", Name: "http"}, {Number: 53, Protocol: "udp"}}
	task := func(id, name, at, svc string, s State) Endpoint {
		e := ep("front", id, name, at)
		e.Service, e.State = svc, s
		return e
	}
	update(t, tb, Network{ID: "front", Name: "front"}, Network{ID: "back", Name: "Back.Net"}, Network{ID: "local", Name: "local"},
		rose, ep("front", "e2", "lily,flower", "10.0.1.3"), ep("back", "e3", "rose", "10.0.2.2"), ep("back", "e4", "only", "10.0.2.4"),
		ep("local", "e5", "only", "172.18.0.9,fd00:18::9"), ep("front", "e6", "dotted.name", "10.0.1.6"),
		Service{Network: "front", ID: "s1", Names: []string{"stack_web", "web"}, VIPs: addrs("10.0.1.100"), Ports: []Port{{Number: 80, Published: 8080, Protocol: "tcp"}}},
		Service{Network: "front", ID: "s2", Names: []string{"rr"}, Ports: []Port{{Number: 9000, Protocol: "tcp"}}},
		Service{Network: "front", ID: "s3", Names: []string{"none"}},
		task("t1", "web.1.abc", "10.0.1.11", "s1", Serving), task("t2", "web.2.def", "10.0.1.12", "s1", Serving),
		task("t3", "web.3.ghi", "10.0.1.13", "s1", Unhealthy), task("t4", "rr.1.jkl", "10.0.1.21", "s2", Serving),
		task("t5", "rr.2.mno", "10.0.1.22", "s2", Draining), task("t6", "none.1.pqr", "10.0.1.31", "s3", Unhealthy))
	return tb
}

// TestRules holds the records to the rules that Docker's embedded server follows, and
// to what is beyond them.
func TestRules(t *testing.T) {
	tb := world(t)
	f := NewForwarder(ForwarderConfig{})
	dynamic := func(a []Attachment) []Attachment {
		for i := range a {
			a[i].Dynamic = a[i].Network != "local"
		}
		return a
	}
	both := tb.NewView(ViewConfig{Networks: dynamic(on("local", "front", "back")), Forwarder: f})
	front := tb.NewView(ViewConfig{Networks: on("front"), Forwarder: f})
	linked := tb.NewView(ViewConfig{Networks: []Attachment{{Network: "front", Name: "front", Links: map[string]string{"DB": "Lily", "rose": "lily", "gone": "nobody", "0123456789ab": "nobody"}}}, Forwarder: f})
	merged := tb.NewView(ViewConfig{Networks: dynamic(on("local", "front", "back")), Forwarder: f, Merge: true})
	internal := tb.NewView(ViewConfig{Networks: []Attachment{{Network: "front", Internal: true}, {Network: "gw", GatewayBridge: true}}, Forwarder: f})
	half := tb.NewView(ViewConfig{Networks: []Attachment{{Network: "front", Internal: true}, {Network: "local"}}, Forwarder: f})
	for _, c := range []struct {
		rule             string
		v                *View
		name, kind, want string
	}{
		{"container name", front, "rose", "A", "10.0.1.2"},
		{"aliases", front, "lily", "A", "10.0.1.3"},
		{"short id", front, "0123456789ab", "A", "10.0.1.2"},
		{"hostname", front, "rosehost", "A", "10.0.1.2"},
		{"AAAA", front, "rose", "AAAA", "fd00:1::2"},
		{"link-local addresses are not in DNS", front, "rosehost", "AAAA", "fd00:1::2"},
		{"AAAA for a name known only in v4: empty, never forwarded", front, "lily", "AAAA", "empty"},
		{"case insensitive", front, "ROSE", "A", "10.0.1.2"},
		{"unknown: forwarded", front, "nobody", "A", "forward"},
		{"same alias on several containers: all", front, "flower", "A", "10.0.1.2 10.0.1.3"},
		{"name of a task", front, "web.1.abc", "A", "10.0.1.11"},
		{"service: VIP", front, "stack_web", "A", "10.0.1.100"},
		{"service alias: VIP", front, "web", "A", "10.0.1.100"},
		{"service without a v6 VIP: empty", front, "web", "AAAA", "empty"},
		{"dnsrr: all tasks, not those that drain", front, "rr", "A", "10.0.1.21"},
		{"tasks.<svc>: all tasks in either mode, not the unhealthy", front, "tasks.stack_web", "A", "10.0.1.11 10.0.1.12"},
		{"tasks.<alias>", front, "tasks.web", "A", "10.0.1.11 10.0.1.12"},
		{"tasks.<svc> in dnsrr", front, "tasks.rr", "A", "10.0.1.21"},
		{"no healthy backend: empty, not forwarded", front, "none", "A", "empty"},
		{"an unhealthy container has its own name", front, "web.3.ghi", "A", "10.0.1.13"},
		{"a draining one too", front, "rr.2.mno", "A", "10.0.1.22"},
		{"<name>.<network>", front, "rose.front", "A", "10.0.1.2"},
		{"<name>.<network> of another of the client's", both, "rose.back.net", "A", "10.0.2.2"},
		{"network names in any case", both, "rose.BACK.NET", "A", "10.0.2.2"},
		{"<name>.<network> of a network that the client is not on", front, "rose.back.net", "A", "forward"},
		{"a name with dots", front, "dotted.name", "A", "10.0.1.6"},
		{"a name with dots and the network", front, "dotted.name.front", "A", "10.0.1.6"},
		{"<svc>.<network>", front, "web.front", "A", "10.0.1.100"},
		{"tasks.<svc>.<network>", front, "tasks.web.front", "A", "10.0.1.11 10.0.1.12"},
		{"link", linked, "db", "A", "10.0.1.3"},
		{"link with the network", linked, "db.front", "A", "10.0.1.3"},
		{"link goes before a name of all", linked, "rose", "A", "10.0.1.3"},
		{"link to nobody", linked, "gone", "A", "forward"},
		{"a link hides the name that it takes", linked, "0123456789ab", "A", "forward"},
		{"links are the client's own", front, "db", "A", "forward"},
		{"which network wins: by name, not merged", both, "rose", "A", "10.0.2.2"},
		{"which network wins: overlays before local ones", both, "only", "A", "10.0.2.4"},
		{"the next network has the other family", both, "only", "AAAA", "fd00:18::9"},
		{"merged", merged, "rose", "A", "10.0.1.2 10.0.2.2"},
		{"PTR: <first name>.<network>.", front, "2.1.0.10.in-addr.arpa", "PTR", "Rose.front."},
		{"PTR, IPv6", front, reverseName(netip.MustParseAddr("fd00:1::2")), "PTR", "Rose.front."},
		{"PTR of a task", front, "11.1.0.10.in-addr.arpa", "PTR", "web.1.abc.front."},
		{"PTR of a VIP", front, "100.1.0.10.in-addr.arpa", "PTR", "stack_web.front."},
		{"PTR on another network", front, "2.2.0.10.in-addr.arpa", "PTR", "forward"},
		{"PTR unknown: forwarded", front, "77.1.0.10.in-addr.arpa", "PTR", "forward"},
		{"PTR of half an address", front, "1.0.10.in-addr.arpa", "PTR", "forward"},
		{"SRV by number", front, "_80._tcp.rose", "SRV", "0 0 80 Rose.front."},
		{"SRV by published number", front, "_8080._tcp.rose", "SRV", "0 0 80 Rose.front."},
		{"SRV by name", front, "_http._tcp.rose.front", "SRV", "0 0 80 Rose.front."},
		{"SRV, udp", front, "_53._udp.ROSE", "SRV", "0 0 53 Rose.front."},
		{"SRV of another protocol", front, "_53._tcp.rose", "SRV", "NXDOMAIN"},
		{"SRV of a service: the VIP", front, "_80._tcp.web", "SRV", "0 0 80 stack_web.front."},
		{"SRV of tasks: each backend", front, "_8080._tcp.tasks.web", "SRV", "0 0 80 web.1.abc.front. 0 0 80 web.2.def.front."},
		{"SRV of dnsrr: each backend", front, "_9000._tcp.rr", "SRV", "0 0 9000 rr.1.jkl.front."},
		{"SRV of who is unknown", front, "_80._tcp.nobody", "SRV", "forward"},
		{"MX of a known name: empty", front, "rose", "MX", "empty"},
		{"MX of an unknown one", front, "nobody", "MX", "forward"},
		{"TXT of a known name: forwarded", front, "rose", "TXT", "forward"},
		{"NS: forwarded", front, "rose", "NS", "forward"},
		{"CNAME: forwarded", front, "rose", "CNAME", "forward"},
		{"internal: local names only", internal, "rose", "A", "10.0.1.2"},
		{"internal: what is known is not there in other types", internal, "rose", "TXT", "empty"},
		{"one network is not internal: forwarded", half, "nobody", "A", "forward"},
	} {
		t.Run(c.rule, func(t *testing.T) { expect(t, c.v, c.name, c.kind, c.want) })
	}
	if internal.state.Load().forward != nil || half.state.Load().forward != f {
		t.Error("an internal client has a forwarder, or one that is not has none")
	}
}

// TestHealth follows an alias of two containers and a service through their states.
func TestHealth(t *testing.T) {
	tb := NewTable(TableConfig{})
	v := tb.NewView(ViewConfig{Networks: on("n")})
	a, b := ep("n", "1", "a,db", "10.0.0.1"), ep("n", "2", "b,db", "10.0.0.2")
	a.Service, b.Service = "s", "s"
	update(t, tb, Network{ID: "n", Name: "n"}, a, b, Service{Network: "n", ID: "s", Names: []string{"svc"}})
	for _, c := range []struct {
		a, b     State
		own, svc string
	}{
		{Serving, Serving, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"},
		{Serving, Unhealthy, "10.0.0.1", "10.0.0.1"},
		{Draining, Serving, "10.0.0.2", "10.0.0.2"},
		{Draining, Unhealthy, "10.0.0.2", "empty"},
		{Unhealthy, Unhealthy, "10.0.0.1 10.0.0.2", "empty"},
		{Draining, Draining, "10.0.0.1 10.0.0.2", "empty"},
	} {
		t.Run(fmt.Sprint(c.a, c.b), func(t *testing.T) {
			a.State, b.State = c.a, c.b
			update(t, tb, a, b)
			expect(t, v, "db", "A", c.own)
			expect(t, v, "svc", "A", c.svc)
			expect(t, v, "tasks.svc", "A", c.svc)
			expect(t, v, "a", "A", "10.0.0.1")
		})
	}
}

// TestModeChange makes a VIP service one of dnsrr and back: no VIP stays behind
// (moby#38575).
func TestModeChange(t *testing.T) {
	tb := NewTable(TableConfig{})
	v := tb.NewView(ViewConfig{Networks: on("n")})
	e, s := ep("n", "1", "a", "10.0.0.1"), Service{Network: "n", ID: "s", Names: []string{"svc"}, VIPs: addrs("10.0.0.9", "fd00::9")}
	e.Service = "s"
	update(t, tb, Network{ID: "n", Name: "n"}, e, s)
	expect(t, v, "svc", "A", "10.0.0.9")
	expect(t, v, "svc", "AAAA", "fd00::9")
	rr := s
	rr.VIPs = nil
	update(t, tb, rr)
	expect(t, v, "svc", "A", "10.0.0.1")
	expect(t, v, "9.0.0.10.in-addr.arpa", "PTR", "forward")
	s.Names = []string{"other"}
	update(t, tb, s)
	expect(t, v, "svc", "A", "forward")
	expect(t, v, "other", "A", "10.0.0.9")
	expect(t, v, "tasks.other", "A", "10.0.0.1")
	expect(t, v, "tasks.svc", "A", "forward")
	tb.Update(func(tx *Tx) { tx.RemoveService("n", "s") })
	expect(t, v, "other", "A", "forward")
	expect(t, v, "tasks.other", "A", "forward")
	expect(t, v, "a", "A", "10.0.0.1")
}

// TestOrder is which network wins.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		rule string
		on   []Attachment // in the order that is wanted
	}{
		{"by name", []Attachment{{Name: "a"}, {Name: "b"}}},
		{"with a gateway", []Attachment{{Name: "b", Gateway: true}, {Name: "a"}}},
		{"not internal", []Attachment{{Name: "b"}, {Name: "a", Internal: true, Gateway: true}}},
		{"not the gateway bridge", []Attachment{{Name: "b", Internal: true}, {Name: "a", GatewayBridge: true}}},
		{"priority", []Attachment{{Name: "b", GatewayBridge: true, Priority: 1}, {Name: "a"}}},
		{"dynamic", []Attachment{{Name: "b", Dynamic: true, Priority: -1}, {Name: "a", Priority: 9}}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := slices.Clone(c.on)
			slices.Reverse(got)
			if Order(got); got[0].Name != c.on[0].Name {
				t.Errorf("%s goes first, want %s", got[0].Name, c.on[0].Name)
			}
		})
	}
}

// TestShuffle asks for a name with three addresses: each comes first about as often.
func TestShuffle(t *testing.T) {
	tb := NewTable(TableConfig{})
	update(t, tb, Network{ID: "n", Name: "n"}, ep("n", "1", "x", "10.0.0.1,10.0.0.2,10.0.0.3"))
	v := tb.NewView(ViewConfig{Networks: on("n")})
	for _, way := range []string{"short", "long"} {
		first := map[string]int{}
		for range 3000 {
			if way == "long" {
				first[rdata(v.resolve(v.state.Load(), "x.", dns.TypeA).rrs[0])]++
				continue
			}
			first[rdata(quick(t, v, ask("x.", dns.TypeA)).Answer[0])]++
		}
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			if n := first[a]; n < 850 || n > 1150 {
				t.Errorf("%s: %s was first %d times of 3000", way, a, n)
			}
		}
	}
}
