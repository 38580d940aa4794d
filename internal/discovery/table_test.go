package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// update does changes of which none may fail.
func update(t testing.TB, tb *Table, changes ...any) []Conflict {
	t.Helper()
	return tb.Update(func(tx *Tx) {
		for _, c := range changes {
			var err error
			switch c := c.(type) {
			case Network:
				err = tx.SetNetwork(c)
			case Endpoint:
				err = tx.SetEndpoint(c)
			case Service:
				err = tx.SetService(c)
			case Static:
				err = tx.SetStatic(c)
			default:
				t.Fatalf("%T", c)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// ep is an endpoint with names "a,b" and addresses "x,y".
func ep(network, id, names, at string) Endpoint {
	e := Endpoint{Network: network, ID: id, Names: strings.Split(names, ",")}
	if at != "" {
		e.Addrs = addrs(strings.Split(at, ",")...)
	}
	return e
}

// lookup is what a view answers, by the long way: sorted values, or a word for what is
// not an answer.
func lookup(v *View, name, kind string) string {
	a := v.resolve(v.state.Load(), dns.Fqdn(name), dns.StringToType[kind])
	if a.forward != "" && len(a.rrs) == 0 {
		return "forward"
	}
	var out []string
	for _, rr := range a.rrs {
		out = append(out, rdata(rr))
	}
	if a.forward != "" {
		out = append(out, "forward "+a.forward)
	}
	if a.rcode != dns.RcodeSuccess {
		return dns.RcodeToString[a.rcode]
	}
	if len(out) == 0 {
		return "empty"
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func expect(t *testing.T, v *View, name, kind, want string) {
	t.Helper()
	if got := lookup(v, name, kind); got != want {
		t.Errorf("%s %s: %s, want %s", name, kind, got, want)
	}
}

func on(networks ...string) (out []Attachment) {
	for _, n := range networks {
		out = append(out, Attachment{Network: n, Name: n})
	}
	return out
}

// TestIncremental changes a table at random and holds it against one made at once.
func TestIncremental(t *testing.T) {
	tb := NewTable(TableConfig{})
	update(t, tb, Network{ID: "n", Name: "front"})
	want := map[string]Endpoint{}
	services := map[string]Service{}
	seed := uint32(7)
	next := func(n uint32) int { seed = seed*1664525 + 1013904223; return int(seed >> 8 % n) }
	for range 3000 {
		tb.Update(func(tx *Tx) {
			for range 1 + next(3) {
				id := fmt.Sprint("e", next(40))
				switch next(6) {
				case 0:
					tx.RemoveEndpoint("n", id)
					delete(want, id)
				case 1:
					s := Service{Network: "n", ID: fmt.Sprint("s", next(3)), Names: []string{fmt.Sprint("web", next(4))}}
					if next(2) == 0 {
						s.VIPs = addrs(fmt.Sprint("10.9.0.", next(200)))
					}
					services[s.ID] = s
					if err := tx.SetService(s); err != nil {
						t.Fatal(err)
					}
				case 2:
					s := fmt.Sprint("s", next(3))
					tx.RemoveService("n", s)
					delete(services, s)
				default:
					e := ep("n", id, fmt.Sprintf("c%s,shared%d", id, next(3)), fmt.Sprint("10.0.0.", next(200)))
					e.State, e.Service = State(next(3)), []string{"", "s0", "s1", "s2"}[next(4)]
					want[id] = e
					if err := tx.SetEndpoint(e); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	fresh := NewTable(TableConfig{})
	update(t, fresh, Network{ID: "n", Name: "front"})
	for _, s := range services {
		update(t, fresh, s)
	}
	for _, e := range want {
		update(t, fresh, e)
	}
	got, exp := slices.Collect(tb.Records()), slices.Collect(fresh.Records())
	if len(exp) < 50 || !slices.Equal(got, exp) {
		t.Fatalf("after many changes\n%v\nat once\n%v", got, exp)
	}
	if !slices.EqualFunc(tb.Conflicts(), fresh.Conflicts(), func(a, b Conflict) bool { return a.String() == b.String() }) {
		t.Fatalf("conflicts %v, want %v", tb.Conflicts(), fresh.Conflicts())
	}
	if !slices.IsSortedFunc(got, Record.compare) {
		t.Fatal("records are not in order")
	}
	tb.Update(func(tx *Tx) {
		tx.KeepEndpoints("n", func(string) bool { return false })
		tx.KeepServices("n", func(string) bool { return false })
	})
	if rest := slices.Collect(tb.Records()); len(rest) > 0 || tb.endpoints+tb.services != 0 || len(tb.Conflicts()) > 0 {
		t.Fatalf("left: %v, %d endpoints, %d services, %v", rest, tb.endpoints, tb.services, tb.Conflicts())
	}
}

// TestUnchanged says the same again: nothing may happen.
func TestUnchanged(t *testing.T) {
	tb := NewTable(TableConfig{})
	e := ep("n", "1", "rose", "10.0.0.2")
	e.Ports = []Port{{Number: 80, Protocol: "TCP"}}
	update(t, tb, Network{ID: "n", Name: "front"}, e)
	before, snap := tb.Serial(), tb.nets.Load().byID["n"].snap.Load()
	update(t, tb, e)
	if tb.Serial() != before || tb.nets.Load().byID["n"].snap.Load() != snap {
		t.Error("an endpoint that is as it was was published again")
	}
	e.State = Unhealthy
	update(t, tb, e)
	if tb.Serial() == before {
		t.Error("the serial did not move")
	}
}
