package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestStatic(t *testing.T) {
	tb := world(t)
	update(t, tb, Static{Network: "front", Name: "fixed", Type: "A", Values: []string{"192.0.2.1", "192.0.2.2"}},
		Static{Network: "front", Name: "fixed", Type: "aaaa", Values: []string{"2001:db8::1"}},
		Static{Network: "front", Name: "www", Type: "CNAME", Values: []string{"Rose"}}, Static{Network: "front", Name: "far", Type: "CNAME", Values: []string{"example.org."}},
		Static{Name: "note.example", Type: "TXT", Values: []string{"one", strings.Repeat("x", 300), `"q\` + "\xff"}}, Static{Name: "_ldap._tcp.example", Type: "SRV", Values: []string{"1 2 389 dc1.example", "2 2 389 dc2.example"}},
		Static{Name: "192.0.2.99", Type: "PTR", Values: []string{"gate.example"}}, Static{Name: "Global", Type: "A", Values: []string{"192.0.2.3"}}, Static{Name: "rose", Type: "A", Values: []string{"192.0.2.4"}},
		Static{Name: "*.apps.example", Type: "A", Values: []string{"192.0.2.5"}}, Static{Network: "front", Name: "*.example", Type: "A", Values: []string{"192.0.2.6"}},
		Static{Name: "there.apps.example", Type: "TXT", Values: []string{"x"}}, Static{Network: "front", Name: "lily", Type: "CNAME", Values: []string{"rose"}},
		Static{Name: "l1", Type: "CNAME", Values: []string{"l2"}}, Static{Name: "l2", Type: "CNAME", Values: []string{"l1"}},
		Static{Network: "front", Name: "srvless", Type: "SRV", Values: []string{"0 0 1 rose"}})
	for i := range 12 {
		update(t, tb, Static{Name: fmt.Sprint("hop", i), Type: "CNAME", Values: []string{fmt.Sprint("hop", i+1)}})
	}
	update(t, tb, Static{Name: "hop12", Type: "A", Values: []string{"192.0.2.12"}})
	f := NewForwarder(ForwarderConfig{})
	front, back := tb.NewView(ViewConfig{Networks: on("front"), Forwarder: f}), tb.NewView(ViewConfig{Networks: on("back"), Forwarder: f})
	alone := tb.NewView(ViewConfig{Networks: on("front")})
	for _, c := range []struct {
		rule             string
		v                *View
		name, kind, want string
	}{
		{"A", front, "fixed", "A", "192.0.2.1 192.0.2.2"},
		{"AAAA", front, "FIXED.front", "AAAA", "2001:db8::1"},
		{"of the network alone", back, "fixed", "A", "forward"},
		{"of no network: everywhere", back, "global", "A", "192.0.2.3"},
		{"of no network: not the other family", back, "global", "AAAA", "empty"},
		{"a container hides what is of no network", front, "rose", "A", "10.0.1.2"},
		{"and what is on the next network too", back, "rose", "A", "10.0.2.2"},
		{"alias of a container", front, "www", "A", "10.0.1.2 rose."},
		{"alias, IPv6", front, "www", "AAAA", "fd00:1::2 rose."},
		{"alias itself", front, "www", "CNAME", "rose."},
		{"alias of a name elsewhere", front, "far", "A", "example.org. forward example.org."},
		{"alias, of any type", front, "far", "MX", "example.org. forward example.org."},
		{"alias beside addresses is shadowed", front, "lily", "A", "10.0.1.3"},
		{"and does not answer for the other family", front, "lily", "AAAA", "empty"},
		{"loop", front, "l1", "A", "SERVFAIL"},
		{"a chain as long as may be", front, "hop4", "A", "192.0.2.12 hop10. hop11. hop12. hop5. hop6. hop7. hop8. hop9."},
		{"a chain that is too long", front, "hop3", "A", "SERVFAIL"},
		{"TXT", back, "note.example", "TXT", `"\"q\\\255" "one" "` + strings.Repeat("x", 255) + `" "` + strings.Repeat("x", 45) + `"`},
		{"A of a name that has only text: not known here", back, "note.example", "A", "forward"},
		{"A of a name that has only text, nobody to ask", alone, "note.example", "A", "empty"},
		{"SRV", back, "_ldap._tcp.example", "SRV", "1 2 389 dc1.example. 2 2 389 dc2.example."},
		{"PTR by address", back, "99.2.0.192.in-addr.arpa", "PTR", "gate.example."},
		{"wildcard", back, "x.apps.example", "A", "192.0.2.5"},
		{"wildcard, more labels", back, "b.a.apps.example", "A", "192.0.2.5"},
		{"wildcard: not the name itself", back, "apps.example", "A", "forward"},
		{"wildcard: not what exists", back, "there.apps.example", "A", "forward"},
		{"wildcard: not below what exists (RFC 4592, 3.3.1)", back, "x.there.apps.example", "A", "forward"},
		{"wildcard of the network goes first", front, "x.apps.example", "A", "192.0.2.6"},
		{"wildcard, another family", back, "x.apps.example", "AAAA", "empty"},
	} {
		t.Run(c.rule, func(t *testing.T) { expect(t, c.v, c.name, c.kind, c.want) })
	}
	tb.Update(func(tx *Tx) {
		for _, c := range []struct {
			network, name, kind string
			want                bool
		}{{"front", "fixed", "AAAA", true}, {"front", "fixed", "AAAA", false}, {"", "192.0.2.99", "", true}, {"", "*.apps.example.", "", true}, {"nowhere", "x", "", false}, {"front", "rose", "", false}} {
			if got := tx.RemoveStatic(c.network, c.name, c.kind); got != c.want {
				t.Errorf("removing %v: %v", c, got)
			}
		}
	})
	expect(t, front, "fixed", "AAAA", "empty")
	expect(t, back, "x.apps.example", "A", "forward")
	expect(t, back, "99.2.0.192.in-addr.arpa", "PTR", "forward")
	tb.Update(func(tx *Tx) { tx.KeepStatics("", func(name, kind string) bool { return name == "global" }) })
	expect(t, back, "global", "A", "192.0.2.3")
	expect(t, back, "note.example", "TXT", "forward")
	nets := tb.nets.Load()
	if all, front := nets.all.snap.Load().wild, nets.byID["front"].snap.Load().wild; all != 0 || front != 1 {
		t.Errorf("%d wildcards of no network and %d of front, want 0 and 1", all, front)
	}
}

func TestStaticRefused(t *testing.T) {
	tb := NewTable(TableConfig{})
	tb.Update(func(tx *Tx) {
		for _, c := range []struct {
			s    Static
			want string
		}{
			{Static{Name: "x", Type: "NS", Values: []string{"y"}}, `type "NS"`},
			{Static{Name: "", Type: "A", Values: []string{"192.0.2.1"}}, `name ""`},
			{Static{Name: "a b", Type: "A", Values: []string{"192.0.2.1"}}, `name "a b"`},
			{Static{Name: "a..b", Type: "A", Values: []string{"192.0.2.1"}}, `name "a..b"`},
			{Static{Name: "a.*.b", Type: "A", Values: []string{"192.0.2.1"}}, `name "a.*.b"`},
			{Static{Name: strings.Repeat("a", 64), Type: "A", Values: []string{"192.0.2.1"}}, "labels of 1 to 63"},
			{Static{Name: strings.Repeat("a.", 127), Type: "A", Values: []string{"192.0.2.1"}}, ""},
			{Static{Name: strings.Repeat("a.", 127) + "b", Type: "A", Values: []string{"192.0.2.1"}}, "at most 253"},
			{Static{Name: "x", Type: "A"}, "0 values"},
			{Static{Name: "x", Type: "A", Values: make([]string, 65)}, "65 values"},
			{Static{Name: "x", Type: "A", Values: []string{"fd00::1"}}, `"fd00::1" is no address of an A record`},
			{Static{Name: "x", Type: "AAAA", Values: []string{"192.0.2.1"}}, "no address of an AAAA record"},
			{Static{Name: "x", Type: "AAAA", Values: []string{"fe80::1%eth0"}}, "no address of an AAAA record"},
			{Static{Name: "x", Type: "CNAME", Values: []string{"a", "b"}}, "one is possible"},
			{Static{Name: "x", Type: "CNAME", Values: []string{"X."}}, "points to itself"},
			{Static{Name: "x", Type: "CNAME", Values: []string{"-$-"}}, `"-$-" is no name`},
			{Static{Name: "x", Type: "SRV", Values: []string{"1 2 y"}}, "PRIORITY WEIGHT PORT TARGET"},
			{Static{Name: "x", Type: "SRV", Values: []string{"1 2 70000 y"}}, `"70000" is not a number`},
			{Static{Name: "x", Type: "TXT", Values: []string{strings.Repeat("x", 4097)}}, "4097 bytes"},
			{Static{Name: "x", Type: "PTR", Values: []string{""}}, `"" is no name`},
			{Static{Network: "nowhere", Name: "x", Type: "A", Values: []string{"192.0.2.1"}}, "no such network: nowhere"},
		} {
			err := tx.SetStatic(c.s)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v: %v, want %q", c.s, err, c.want)
			}
		}
	})
}

// TestTTL is whose word counts: the record's, the network's, the table's.
func TestTTL(t *testing.T) {
	ttl := func(v *View, name string) uint32 {
		a := v.resolve(v.state.Load(), name, dns.TypeA)
		return a.rrs[0].Header().Ttl
	}
	for _, c := range []struct {
		table, network, record time.Duration
		want                   uint32
	}{{0, 0, 0, 5}, {-1, 0, 0, 0}, {time.Minute, 0, 0, 60}, {time.Minute, 7 * time.Second, 0, 7}, {0, -1, 0, 0}, {0, 0, 600 * time.Second, 600}, {0, time.Second, -1, 0}, {time.Millisecond, 0, 0, 1}, {1 << 62, 0, 0, 1<<31 - 1}} {
		tb := NewTable(TableConfig{TTL: c.table})
		update(t, tb, Network{ID: "n", Name: "n", TTL: c.network}, ep("n", "1", "e", "10.0.0.1"), Static{Network: "n", Name: "s", Type: "A", Values: []string{"10.0.0.2"}, TTL: c.record})
		v := tb.NewView(ViewConfig{Networks: on("n")})
		if got := ttl(v, "s."); got != c.want {
			t.Errorf("%v: %d s", c, got)
		}
		if c.record == 0 && ttl(v, "e.") != c.want {
			t.Errorf("%v: an endpoint's has %d s", c, ttl(v, "e."))
		}
	}
}

func TestConflicts(t *testing.T) {
	tb := NewTable(TableConfig{})
	a, b := ep("n", "1", "a,db", "10.0.0.1"), ep("n", "2", "b,db", "10.0.0.2")
	if c := update(t, tb, Network{ID: "n", Name: "front"}, a); len(c) != 0 {
		t.Error(c)
	}
	if c := update(t, tb, b); len(c) != 1 || c[0].String() != `db on network "front" is answered by several: endpoint a, endpoint b` {
		t.Error(c)
	}
	if c := update(t, tb, ep("n", "3", "c,db", "10.0.0.3")); len(c) != 0 || len(tb.Conflicts()) != 1 {
		t.Error("what is known is said again, or not any more")
	}
	tb.Update(func(tx *Tx) { tx.RemoveEndpoint("n", "3"); tx.RemoveEndpoint("n", "2") })
	if c := tb.Conflicts(); len(c) != 0 {
		t.Error(c)
	}
	a.Service, b.Service = "s", "s"
	if c := update(t, tb, a, b, Service{Network: "n", ID: "s", Names: []string{"db"}}); len(c) != 0 {
		t.Errorf("backends of one service: %v", c)
	}
	if c := update(t, tb, Static{Network: "n", Name: "a", Type: "A", Values: []string{"10.0.0.9"}}); len(c) != 1 || !slices.Contains(c[0].Owners, "static A a") {
		t.Error(c)
	}
	update(t, tb, Static{Name: "b", Type: "A", Values: []string{"10.0.0.9"}})
	if c := tb.Conflicts(); len(c) != 2 || !c[1].Shadow || c[1].String() != "b on network front hides a static record of the same name" {
		t.Error(c)
	}
}

// TestBounds fills all that can be filled.
func TestBounds(t *testing.T) {
	stats := &Stats{}
	tb := NewTable(TableConfig{Limits: Limits{Networks: 2, Endpoints: 3, Services: 1, Statics: 1}, Stats: stats})
	tb.Update(func(tx *Tx) {
		full := func(what string, err error, want bool) {
			if errors.Is(err, ErrFull) != want || !want && err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		for i := range 3 {
			full("network", tx.SetNetwork(Network{ID: fmt.Sprint(i), Name: fmt.Sprint("n", i)}), i == 2)
		}
		for i := range 4 {
			full("endpoint", tx.SetEndpoint(ep(fmt.Sprint(i%2), fmt.Sprint(i), "x", "10.0.0.1")), i == 3)
		}
		full("the same endpoint", tx.SetEndpoint(ep("0", "0", "y", "10.0.0.1")), false)
		for i := range 2 {
			full("service", tx.SetService(Service{Network: "0", ID: fmt.Sprint(i)}), i == 1)
			full("static", tx.SetStatic(Static{Name: fmt.Sprint("s", i), Type: "A", Values: []string{"10.0.0.1"}}), i == 1)
		}
		if err := tx.SetEndpoint(ep("5", "1", "x", "")); !errors.Is(err, ErrNoNetwork) {
			t.Error(err)
		}
		for _, err := range []error{tx.SetEndpoint(Endpoint{Network: "0"}), tx.SetService(Service{ID: "1"}), tx.SetNetwork(Network{})} {
			if !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		}
		tx.RemoveNetwork("0")
		full("network after one has gone", tx.SetNetwork(Network{ID: "2", Name: "n2"}), false)
		full("endpoint after two have gone", tx.SetEndpoint(ep("2", "9", "x", "10.0.0.1")), false)
		full("service after one has gone", tx.SetService(Service{Network: "2", ID: "9"}), false)
	})
	if stats.Get(TableFull) != 4 {
		t.Errorf("%s is %d", TableFull, stats.Get(TableFull))
	}
	e := Endpoint{Network: "2", ID: "9", Names: []string{"ok", "not ok", strings.Repeat("x", 64)}}
	for i := range 200 {
		e.Names = append(e.Names, fmt.Sprint("n", i))
		e.Addrs = append(e.Addrs, addrs(fmt.Sprint("10.0.0.", i))...)
	}
	update(t, tb, e)
	o := tb.nets.Load().byID["2"].endpoints["9"]
	if stats.Get(BadName) != 2 || len(o.names) != maxNames || len(o.addrs) != maxAddrs {
		t.Errorf("%d bad names, %d names, %d addresses", stats.Get(BadName), len(o.names), len(o.addrs))
	}
	for c, n := range stats.All() {
		if c.String() == "" {
			t.Errorf("counter %d, %d, has no name", c, n)
		}
	}
}

// TestNameFull gives more endpoints one alias than it may have.
func TestNameFull(t *testing.T) {
	stats := &Stats{}
	tb := NewTable(TableConfig{Stats: stats})
	update(t, tb, Network{ID: "n", Name: "n"})
	tb.Update(func(tx *Tx) {
		for i := range maxClaims + 10 {
			e := bigEndpoint(i)
			e.Names = []string{"all"}
			tx.SetEndpoint(e)
		}
	})
	v := tb.NewView(ViewConfig{Networks: on("n")})
	if n := len(v.resolve(v.state.Load(), "all.", dns.TypeA).rrs); n != maxClaims || stats.Get(NameFull) != 10 {
		t.Errorf("%d addresses, %d left out", n, stats.Get(NameFull))
	}
	m := slow(t, v, ask("all.", dns.TypeA))
	if m.Compress = true; !m.Truncated || m.Len() > 512 {
		t.Errorf("truncated %v, %d bytes", m.Truncated, m.Len())
	}
}
