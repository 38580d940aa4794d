package nat

import (
	"fmt"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

const (
	fin, syn, rst, ack = nettest.FIN, nettest.SYN, nettest.RST, nettest.ACK
)

// A move is one segment of a scripted connection between 172.18.0.2:5000 and the
// server's port 80, and what is to come of it.
type move struct {
	from  Side
	flags uint8
	seq   uint32
	ack   uint32
	want  frame.Reason
	state string
}

// The initiator's sequence numbers begin at 100, the responder's at 900; windows are
// 1,000.
var (
	sends      = func(flags uint8, seq, ack uint32, state string) move { return move{Inside, flags, seq, ack, 0, state} }
	hears      = func(flags uint8, seq, ack uint32, state string) move { return move{Outside, flags, seq, ack, 0, state} }
	handshake  = []move{sends(syn, 100, 0, "syn-sent"), hears(syn|ack, 900, 101, "syn-received"), sends(ack, 101, 901, "established")}
	bothFIN    = append(handshake[:3:3], sends(fin|ack, 101, 901, "fin-wait"), hears(fin|ack, 901, 102, "time-wait"))
	resetAfter = append(handshake[:3:3], hears(rst, 901, 0, "reset"))
)

func TestTCPStates(t *testing.T) {
	for _, c := range []struct {
		name  string
		moves []move
	}{
		{"handshake", handshake},
		{"SYN again", []move{handshake[0], sends(syn, 100, 0, "syn-sent"), handshake[1], handshake[2]}},
		{"simultaneous open, RFC 5382 REQ-2", []move{handshake[0], hears(syn, 900, 0, "syn-received"), sends(syn|ack, 100, 901, "established")}},
		{"refused", []move{handshake[0], hears(rst|ack, 0, 101, "reset")}},
		{"refused by who has not seen the SYN", []move{handshake[0], hears(rst|ack, 0, 102, "syn-sent"), hears(rst, 0, 0, "syn-sent")}},
		{"FIN of both", bothFIN},
		{"FIN of the responder first", append(handshake[:3:3], hears(fin|ack, 901, 101, "fin-wait"), sends(ack, 101, 902, "fin-wait"), sends(fin|ack, 101, 902, "time-wait"))},
		{"RST in the window", resetAfter},
		{"RST at its end", append(handshake[:3:3], hears(rst, 901+1000, 0, "reset"))},
		{"RST before the window, RFC 7857 2.2", append(handshake[:3:3], hears(rst, 900, 0, "established"))},
		{"RST behind the window", append(handshake[:3:3], hears(rst, 901+1001, 0, "established"))},
		{"FIN behind the window", append(handshake[:3:3], hears(fin|ack, 901+1001, 101, "established"))},
		{"RST of the initiator", append(handshake[:3:3], sends(rst, 101, 0, "reset"))},
		{"RST of the initiator out of the window", append(handshake[:3:3], sends(rst, 5000, 0, "established"))},
		{"alive after an RST, RFC 6146 3.5.2.2", append(resetAfter[:4:4], hears(ack, 901, 101, "established"))},
		{"the other one's words after an RST", append(resetAfter[:4:4], sends(ack, 101, 901, "reset"))},
		{"SYN on an open connection", append(handshake[:3:3], sends(syn, 7, 0, "established"), hears(ack, 901, 101, "established"))},
		{"SYN after both FINs, RFC 5382 REQ-5", append(bothFIN[:5:5], sends(syn, 5000, 0, "syn-sent"), hears(syn|ack, 70, 5001, "syn-received"), sends(ack, 5001, 71, "established"))},
		{"SYN after an RST", append(resetAfter[:4:4], sends(syn, 5000, 0, "syn-sent"), hears(rst|ack, 0, 5001, "reset"))},
		{"SYN of the responder after both FINs", append(bothFIN[:5:5], move{Outside, syn, 1, 0, frame.BadState, "time-wait"})},
		{"a window of before", append(bothFIN[:5:5], sends(syn, 5000, 0, "syn-sent"), hears(syn|ack, 70, 5001, "syn-received"), hears(rst, 902, 0, "syn-received"))},
		{"mid-stream", []move{sends(ack, 1, 1, "untracked"), hears(ack, 1, 2, "established")}},
		{"begins with RST", []move{{Inside, rst, 1, 0, frame.BadState, ""}}},
		{"begins with FIN", []move{{Inside, fin | ack, 1, 1, frame.BadState, ""}}},
		{"begins with SYN, ACK", []move{{Inside, syn | ack, 1, 1, frame.BadState, ""}}},
		{"begins with nothing", []move{{Inside, 0, 1, 1, frame.BadState, ""}}},
		{"begins outside", []move{{Outside, syn, 1, 0, frame.NoFlow, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			for i, m := range c.moves {
				from, to := "172.18.0.2:5000", "203.0.113.7:80"
				if m.from == Outside {
					from, to = to, "198.51.100.1:5000"
				}
				b := tcp(from, to, m.flags, m.seq, m.ack)
				if m.want != frame.NotDropped {
					drop(t, tab, m.from, b, 10, m.want)
				} else {
					pass(t, tab, m.from, b, 10)
				}
				if got := onlyState(tab); got != m.state {
					t.Fatalf("segment %d: %q, want %q", i, got, m.state)
				}
			}
		})
	}
}

// onlyState returns the state of the only flow, "" if there is none.
func onlyState(tab *Table) string {
	state := ""
	tab.Flows(func(f Flow) bool {
		state += f.State
		return true
	})
	return state
}

// TestLives: how long flows live after their last packet, to the second.
func TestLives(t *testing.T) {
	one := func(b []byte, from Side) func(testing.TB, *Table) {
		return func(t testing.TB, tab *Table) { pass(t, tab, from, b, 1000) }
	}
	script := func(moves []move) func(testing.TB, *Table) {
		return func(t testing.TB, tab *Table) {
			for _, m := range moves {
				from, to := "172.18.0.2:5000", "203.0.113.7:80"
				if m.from == Outside {
					from, to = to, "198.51.100.1:5000"
				}
				pass(t, tab, m.from, tcp(from, to, m.flags, m.seq, m.ack), 1000)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(testing.TB, *Table)
		life uint32
	}{
		{"UDP, RFC 4787 REQ-5", one(udp("172.18.0.2:5000", "203.0.113.7:9", "x"), Inside), 300},
		{"echo, RFC 5508 REQ-2", one(echo("172.18.0.2", "203.0.113.7", 1, false), Inside), 60},
		{"TCP opening, RFC 5382 REQ-5", script(handshake[:1]), 240},
		{"TCP half open", script(handshake[:2]), 240},
		{"TCP open", script(handshake), 7440},
		{"TCP closed", script(bothFIN), 240},
		{"TCP reset, RFC 7857 2.2", script(resetAfter), 240},
		{"published UDP, no answer", one(udp("203.0.113.7:9", "198.51.100.1:5353", "x"), Outside), 300},
		{"published UDP, answered", func(t testing.TB, tab *Table) {
			pass(t, tab, Outside, udp("203.0.113.7:9", "198.51.100.1:5353", "x"), 1000)
			pass(t, tab, Inside, udp("172.18.0.2:53", "203.0.113.7:9", "x"), 1000)
		}, 3600},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			c.do(t, tab)
			if tab.Stats().Flows != 1 {
				t.Fatal("no flow")
			}
			for now := uint32(1000); now < 1000+c.life; now++ {
				tab.Tick(now)
			}
			if tab.Stats().Flows != 1 {
				t.Fatalf("gone before %d seconds", c.life)
			}
			tab.Tick(1000 + c.life)
			if s := tab.Stats(); s.Flows != 0 || s.Expired != 1 || s.Unanswered+s.Loose+s.Established != 0 {
				t.Fatalf("not gone after %d seconds: %+v", c.life, s)
			}
		})
	}
}

// TestTrafficKeepsAlive: packets of either side do (RFC 4787, REQ-6), ICMP errors do not.
func TestTrafficKeepsAlive(t *testing.T) {
	tab := testTable(t, Config{})
	pass(t, tab, Inside, udp("172.18.0.2:5000", "203.0.113.7:9", "x"), 0)
	for now := uint32(1); now <= 1500; now++ {
		if now%250 == 0 {
			pass(t, tab, Outside, udp("203.0.113.7:9", "198.51.100.1:5000", "x"), now)
		}
		tab.Tick(now)
	}
	if tab.Stats().Flows != 1 {
		t.Fatal("gone in spite of traffic")
	}
	// A clock that jumps, as after a suspend, ends what is old at once.
	tab.Tick(1_000_000)
	if tab.Stats().Flows != 0 {
		t.Fatal("there after a jump of the clock")
	}
}

// TestIdleSurvives: flows of published ports outlive the 900 seconds that IPVS gives.
func TestIdleSurvives(t *testing.T) {
	tab := testTable(t, Config{})
	pass(t, tab, Outside, udp("203.0.113.7:9", "198.51.100.1:5353", "x"), 0)
	pass(t, tab, Inside, udp("172.18.0.2:53", "203.0.113.7:9", "x"), 0)
	for i, m := range []move{hears(syn, 100, 0, ""), sends(syn|ack, 900, 101, ""), hears(ack, 101, 901, "")} {
		from, to := "203.0.113.7:4000", "198.51.100.1:8080"
		if m.from == Inside {
			from, to = "172.18.0.2:80", from
		}
		pass(t, tab, m.from, tcp(from, to, m.flags, m.seq, m.ack), uint32(i))
	}
	for now := uint32(1); now <= 3000; now++ {
		tab.Tick(now)
	}
	f, _ := pass(t, tab, Inside, udp("172.18.0.2:53", "203.0.113.7:9", "x"), 3000)
	expectEnds(t, f, "198.51.100.1:5353", "203.0.113.7:9")
	f, _ = pass(t, tab, Inside, tcp("172.18.0.2:80", "203.0.113.7:4000", ack, 901, 101), 3000)
	expectEnds(t, f, "198.51.100.1:8080", "203.0.113.7:4000")
	if tab.Stats().Flows != 2 || tab.Stats().Created != 2 {
		t.Fatalf("%+v", tab.Stats())
	}
}

// TestWindowScale: the window a reset is held against is scaled as both sides said.
func TestWindowScale(t *testing.T) {
	scale := func(s byte) []byte { return []byte{3, 3, s, 1} }
	for _, c := range []struct {
		name   string
		mine   []byte // options of the two SYNs
		theirs []byte
		within uint32
	}{
		{"both", scale(4), scale(2), 16000},
		{"too large a one", scale(200), scale(0), 1000 << 14},
		{"mine alone", scale(4), nil, 1000},
		{"theirs alone", nil, scale(4), 1000},
	} {
		for _, past := range []uint32{0, 1} {
			t.Run(fmt.Sprint(c.name, " ", past), func(t *testing.T) {
				tab := testTable(t, Config{})
				send := func(from Side, s nettest.Segment) {
					a, b := "172.18.0.2:5000", "203.0.113.7:80"
					if from == Outside {
						a, b = b, "198.51.100.1:5000"
					}
					s.Window = 1000
					pass(t, tab, from, segmentFrame(a, b, s), 1)
				}
				send(Inside, nettest.Segment{Flags: syn, Seq: 100, Options: c.mine})
				send(Outside, nettest.Segment{Flags: syn | ack, Seq: 900, Ack: 101, Options: c.theirs})
				send(Inside, nettest.Segment{Flags: ack, Seq: 101, Ack: 901})
				send(Outside, nettest.Segment{Flags: rst, Seq: 901 + c.within + past})
				if want := []string{"reset", "established"}[past]; onlyState(tab) != want {
					t.Fatalf("%q, want %q", onlyState(tab), want)
				}
			})
		}
	}
}

func TestMSSClamp(t *testing.T) {
	for _, c := range []struct {
		name    string
		a, b    string
		mtu     int
		options []byte
		want    byte // low byte of the value
	}{
		{"lowered", "172.18.0.2:1", "203.0.113.7:80", 1400, []byte{2, 4, 5, 0xb4}, byte(1360 & 255)},
		{"fits", "172.18.0.2:1", "203.0.113.7:80", 1500, []byte{2, 4, 5, 0xb4}, 0xb4},
		{"at an odd place", "172.18.0.2:1", "203.0.113.7:80", 1400, []byte{1, 2, 4, 5, 0xb4, 1, 1, 1}, byte(1360 & 255)},
		{"IPv6", "[fd00:18::2]:1", "[2001:db8::7]:80", 1400, []byte{2, 4, 5, 0xb4}, byte(1340 & 255)},
		{"no MTU", "172.18.0.2:1", "203.0.113.7:80", 0, []byte{2, 4, 5, 0xb4}, 0xb4},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			r := testRules()
			r.MTU = c.mtu
			tab.SetRules(r)
			f, _ := pass(t, tab, Inside, segmentFrame(c.a, c.b, nettest.Segment{Flags: syn, Options: c.options}), 1)
			if got := f.Bytes()[f.FindMSS()+1]; got != c.want {
				t.Fatalf("%#x, want %#x", got, c.want)
			}
		})
	}
}
