package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// states counts the flows of an endpoint by state.
func states(tab *Table, owner string) map[string]int {
	n := map[string]int{}
	tab.Flows(func(f Flow) bool {
		if f.Source.Addr() == ip(owner) || f.Published && f.TranslatedDestination.Addr() == ip(owner) {
			n[f.State]++
		}
		return true
	})
	return n
}

// connect makes an established connection.
func connect(t testing.TB, tab *Table, from, to string, now uint32) {
	t.Helper()
	f, _ := pass(t, tab, Inside, tcp(from, to, syn, 100, 0), now)
	outside, _ := ends(f)
	pass(t, tab, Outside, tcp(to, outside.String(), syn|ack, 900, 101), now)
	pass(t, tab, Inside, tcp(from, to, ack, 101, 901), now)
}

// TestSYNFlood: a flood at a published port, from invented addresses, is bounded, takes
// from nobody else, and leaves the endpoint's own connections alone; who completes the
// handshake is let in all the same.
func TestSYNFlood(t *testing.T) {
	tab := testTable(t, Config{MaxFlows: 1000, MaxUnanswered: 200})
	for i := range 20 {
		connect(t, tab, fmt.Sprint("172.18.0.2:", 3000+i), "203.0.113.7:80", 1)
		connect(t, tab, fmt.Sprint("172.18.0.3:", 3000+i), "203.0.113.7:80", 1)
	}
	pass(t, tab, Inside, tcp("172.18.0.3:4000", "203.0.113.7:80", syn, 100, 0), 1) // waits for its answer
	for i := range 20000 {
		from := fmt.Sprintf("203.%d.%d.%d:%d", 1+i>>14, i>>7&127, 1+i&127, 1000+i%7)
		pass(t, tab, Outside, tcp(from, "198.51.100.1:8080", syn, 1, 0), 1)
		if i%100 == 0 {
			client := fmt.Sprint("192.0.2.9:", 10000+i)
			pass(t, tab, Outside, tcp(client, "198.51.100.1:8080", syn, 1, 0), 1)
			pass(t, tab, Inside, tcp("172.18.0.2:80", client, syn|ack, 900, 2), 1)
			pass(t, tab, Outside, tcp(client, "198.51.100.1:8080", ack, 2, 901), 1)
		}
	}
	if n := states(tab, "172.18.0.2"); n["established"] != 220 {
		t.Fatalf("the endpoint at which the flood is aimed has %v", n)
	}
	if n := states(tab, "172.18.0.3"); n["established"] != 20 || n["syn-sent"] != 1 {
		t.Fatalf("the other endpoint has %v", n)
	}
	if s := tab.Stats(); s.Unanswered > 200 || s.EvictedUnanswered == 0 || s.EvictedLoose+s.EvictedEstablished != 0 {
		t.Fatalf("%+v", s)
	}
	checkTable(t, tab)
}

// TestFull: who has most gives way, its flows nobody answered first, established ones
// last.
func TestFull(t *testing.T) {
	tab := testTable(t, Config{MaxFlows: 100, MaxUnanswered: 100})
	for i := range 30 {
		connect(t, tab, fmt.Sprint("172.18.0.2:", 3000+i), "203.0.113.7:80", 1)
	}
	for i := range 30 {
		udpTo := fmt.Sprintf("203.0.113.%d:9", i+1)
		pass(t, tab, Inside, udp("172.18.0.2:53", udpTo, "x"), 1)
		pass(t, tab, Outside, udp(udpTo, "198.51.100.1:5353", "x"), 1)
	}
	for i := range 20 {
		pass(t, tab, Inside, udp("172.18.0.2:54", fmt.Sprintf("203.0.113.%d:9", i+1), "x"), 1)
	}
	// The other endpoint makes connections. As long as it has fewer flows, the first
	// loses some; when both have half, it displaces its own.
	made := 0
	for _, c := range []struct{ others, unreplied, assured, established int }{
		{0, 20, 30, 30}, {20, 20, 30, 30}, {30, 10, 30, 30}, {40, 0, 30, 30}, {50, 0, 20, 30}, {80, 0, 20, 30},
	} {
		for ; made < c.others; made++ {
			connect(t, tab, fmt.Sprint("172.18.0.3:", 3000+made), "203.0.113.7:80", 1)
		}
		n := states(tab, "172.18.0.2")
		if n["unreplied"] != c.unreplied || n["assured"] != c.assured || n["established"] != c.established {
			t.Fatalf("of %d connections of the other one's: %v", made, n)
		}
		if n := states(tab, "172.18.0.3"); n["established"] != min(made, 50) {
			t.Fatalf("the other one has %v of %d", n, made)
		}
	}
	checkTable(t, tab)
}

func TestPerSource(t *testing.T) {
	tab := testTable(t, Config{MaxPerSource: 10})
	for i := range 10 {
		connect(t, tab, fmt.Sprint("172.18.0.2:", 3000+i), "203.0.113.7:80", 1)
	}
	drop(t, tab, Inside, tcp("172.18.0.2:4000", "203.0.113.7:80", syn, 1, 0), 1, frame.SourceFlows)
	drop(t, tab, Outside, tcp("203.0.113.7:4000", "198.51.100.1:8080", syn, 1, 0), 1, frame.SourceFlows)
	pass(t, tab, Inside, tcp("172.18.0.3:4000", "203.0.113.7:80", syn, 1, 0), 1)
	if s := tab.Stats(); s.SourceLimit != 2 || s.Flows != 11 {
		t.Fatalf("%+v", s)
	}
	// A closed one gives way.
	pass(t, tab, Inside, tcp("172.18.0.2:3000", "203.0.113.7:80", rst, 101, 0), 1)
	pass(t, tab, Inside, tcp("172.18.0.2:4000", "203.0.113.7:80", syn, 1, 0), 1)
	checkTable(t, tab)
}

// TestPortsExhausted: the endpoint that holds most ports gives up its own, and an
// endpoint with one keeps it.
func TestPortsExhausted(t *testing.T) {
	tab := testTable(t, Config{})
	r := testRules()
	r.Ports = PortRange{40000, 40099}
	tab.SetRules(r)
	// A socket that speaks to many has one port all the same.
	for i := range 200 {
		pass(t, tab, Inside, udp("172.18.0.3:1000", fmt.Sprint("203.0.113.7:", 9+i), "x"), 1)
	}
	for i := range 1000 {
		f, _ := pass(t, tab, Inside, udp(fmt.Sprint("172.18.0.2:", 1000+i), "203.0.113.7:9", "x"), 1)
		if from, _ := ends(f); from.Port() < 40000 || from.Port() > 40099 {
			t.Fatalf("port %d", from.Port())
		}
	}
	pass(t, tab, Inside, tcp("172.18.0.2:1000", "203.0.113.7:9", syn, 1, 0), 1) // TCP has ports of its own
	pass(t, tab, Inside, udp("[fd00:18::2]:1000", "[2001:db8:7::7]:9", "x"), 1) // and so has the other family
	if s := tab.Stats(); s.PortsExhausted != 901 || s.EvictedUnanswered != 901 || s.Flows != 301 {
		t.Fatalf("%+v", s)
	}
	if n := states(tab, "172.18.0.3"); n["unreplied"] != 200 {
		t.Fatalf("%v", n)
	}
	// A second address has ports of its own.
	r.Outside = append([]netip.Addr{ip("198.51.100.9")}, r.Outside...)
	tab.SetRules(r)
	for i := range 50 {
		pass(t, tab, Inside, udp(fmt.Sprint("172.18.0.3:", 2000+i), "203.0.113.7:9", "x"), 1)
	}
	if s := tab.Stats(); s.PortsExhausted != 901 || s.Flows != 351 {
		t.Fatalf("%+v", s)
	}
	checkTable(t, tab)
}

// TestPortRanges: what comes from below 1024 stays below, what comes from above stays
// above (RFC 4787, 4.2.2), and different endpoints get different ports.
func TestPortRanges(t *testing.T) {
	tab := testTable(t, Config{})
	seen := map[uint16]bool{}
	for i := 2; i < 250; i++ {
		for _, port := range []int{500, 5000} {
			f, _ := pass(t, tab, Inside, udp(fmt.Sprintf("172.18.0.%d:%d", i, port), "203.0.113.7:9", "x"), 1)
			from, _ := ends(f)
			if (from.Port() < 1024) != (port < 1024) || seen[from.Port()] || i == 2 && from.Port() != uint16(port) {
				t.Fatalf("port %d became %d", port, from.Port())
			}
			seen[from.Port()] = true
		}
	}
}

// TestPaired: an endpoint always appears from the same address (RFC 4787, REQ-2).
func TestPaired(t *testing.T) {
	tab := testTable(t, Config{})
	tab.SetRules(worldRules())
	used := map[netip.Addr]bool{}
	for i := range 100 {
		var first netip.Addr
		for port := range 20 {
			f, _ := pass(t, tab, Inside, udp(fmt.Sprintf("10.0.0.%d:%d", i+1, 1000+port), "203.0.113.7:9", "x"), 1)
			from, _ := ends(f)
			if port == 0 {
				first = from.Addr()
			}
			if from.Addr() != first {
				t.Fatalf("%v and %v", first, from.Addr())
			}
		}
		used[first] = true
	}
	if len(used) < 20 {
		t.Fatalf("%d of 32 addresses used", len(used))
	}
}

// TestGrowth: the index finds everything while it grows, and slots are used again.
func TestGrowth(t *testing.T) {
	tab := New(Config{Seed: 3, MaxUnanswered: 200_000})
	tab.SetRules(worldRules())
	s := newShooter(t, nettest.SYN)
	for round := range 2 {
		for i := range 100_000 {
			s.load(flowOf(i))
			s.out(t, tab, uint32(round*1000))
		}
		if round == 0 {
			before := tab.Stats().Bytes
			checkTable(t, tab)
			for i := range 10 {
				tab.Tick(uint32(240 + i))
			}
			if s := tab.Stats(); s.Flows != 0 || s.Bytes != before {
				t.Fatalf("%+v", s)
			}
			checkTable(t, tab)
		}
	}
	checkTable(t, tab)
	if got := tab.pool.given(); got > 100_000+shards*2*handful+1 {
		t.Fatalf("%d slots for 100,000 flows twice", got)
	}
}

// TestNoAllocs: translating allocates nothing, and nor does making flows where others
// have been.
func TestNoAllocs(t *testing.T) {
	tab := testTable(t, Config{})
	connect(t, tab, "172.18.0.2:3000", "203.0.113.7:80", 1)
	for _, c := range []struct {
		name string
		from Side
		b    []byte
	}{
		{"out", Inside, tcp("172.18.0.2:3000", "203.0.113.7:80", ack, 101, 901)},
		{"in", Outside, tcp("203.0.113.7:80", "198.51.100.1:3000", ack, 901, 101)},
		{"FIN", Inside, tcp("172.18.0.2:3000", "203.0.113.7:80", fin|ack, 101, 901)},
		{"hairpin", Inside, tcp("172.18.0.3:3000", "198.51.100.1:8080", syn, 1, 0)},
		{"refused", Outside, tcp("203.0.113.7:80", "198.51.100.1:3001", ack, 901, 101)},
		{"error", Outside, errorAbout("192.0.2.254", "198.51.100.1", 3, tcp("198.51.100.1:3000", "203.0.113.7:80", ack, 1, 1), 0)},
		{"IPv6", Inside, udp("[fd00:18::2]:1000", "[2001:db8:7::7]:9", "x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := wrap(t, c.b)
			nettest.ZeroAllocs(t, func() {
				copy(f.Bytes(), c.b)
				cross(tab, c.from, f, 1)
			})
		})
	}
	t.Run("new", func(t *testing.T) {
		tab := testTable(t, Config{MaxFlows: 64, MaxUnanswered: 32})
		tab.SetRules(worldRules())
		s, i := newShooter(t, nettest.SYN), 0
		for range 1000 {
			i++
			s.load(flowOf(i % 50))
			s.out(t, tab, 1)
		}
		nettest.ZeroAllocs(t, func() {
			i++
			s.load(flowOf(i % 50))
			s.out(t, tab, 1)
		})
	})
}
