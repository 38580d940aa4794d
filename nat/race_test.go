package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// TestConcurrent has workers translate both directions of the same flows while time
// passes, rules change, somebody lists and somebody flushes. A packet that comes out
// comes out as it should, whatever happened: never to a stranger.
func TestConcurrent(t *testing.T) {
	tab := testTable(t, Config{MaxFlows: 600, MaxUnanswered: 200, TCPTransitory: 3, UDP: 3, Echo: 2, Published: 4, TCPEstablished: 5})
	var now, stop atomic.Uint32
	now.Store(1000)
	var wg sync.WaitGroup
	seed := uint64(0)
	run := func(f func(r *rand.Rand)) {
		wg.Add(1)
		seed++
		source := rand.NewPCG(seed, 1)
		go func() {
			defer wg.Done()
			for r := rand.New(source); stop.Load() == 0; {
				f(r)
			}
		}()
	}
	var passed atomic.Uint64
	for range 4 {
		run(func(r *rand.Rand) { talk(t, tab, r, now.Load(), &passed) })
	}
	run(func(*rand.Rand) {
		tab.Tick(now.Add(1))
		time.Sleep(time.Millisecond)
	})
	run(func(r *rand.Rand) {
		rules := testRules()
		if r.IntN(2) == 0 {
			rules.Published = rules.Published[1:]
			rules.Outside = append(rules.Outside, netip.MustParseAddr("198.51.100.7"))
		}
		tab.SetRules(rules)
		time.Sleep(3 * time.Millisecond)
	})
	run(func(r *rand.Rand) {
		tab.Flows(func(f Flow) bool {
			if f.Published != (f.Source.Addr() == f.TranslatedSource.Addr()) {
				t.Errorf("torn: %+v", f)
			}
			return true
		})
		if r.IntN(10) == 0 {
			tab.Flush(func(f Flow) bool { return f.Proto == frame.ProtoICMP })
		}
		tab.Stats()
		time.Sleep(time.Millisecond)
	})
	time.Sleep(1500 * time.Millisecond)
	stop.Store(1)
	wg.Wait()
	tab.SetRules(testRules())
	checkTable(t, tab)
	s := tab.Stats()
	t.Logf("%d packets passed, %+v", passed.Load(), s)
	if passed.Load() < 1000 || s.Created < 100 || s.Expired == 0 {
		t.Fatal("hardly anything happened")
	}
}

// talk sends a packet, and its answer, and looks at where they come out.
func talk(t *testing.T, tab *Table, r *rand.Rand, now uint32, passed *atomic.Uint64) {
	c := families[r.IntN(2)]
	endpoint, port := []string{c.a, c.b}[r.IntN(2)], 3000+r.IntN(60)
	from, to := fmt.Sprintf("%s:%d", endpoint, port), fmt.Sprintf("%s:%d", c.server, 1+r.IntN(6))
	var b []byte
	isTCP := r.IntN(2) == 0
	if isTCP {
		b = tcp(from, to, []uint8{syn, ack, fin | ack, rst}[r.IntN(4)], r.Uint32N(9), r.Uint32N(9))
	} else {
		b = udp(from, to, "x")
	}
	f := wrap(t, b)
	if _, reason := tab.Outbound(f, now); reason != frame.NotDropped {
		return
	}
	src, dst := ends(f)
	if dst != ap(to) || src.Addr().Is4() != dst.Addr().Is4() || src.Addr() == ip(bare(endpoint)) {
		t.Errorf("%s > %s became %v > %v", from, to, src, dst)
	}
	answer := nettest.UDP(host(dst.Addr()), host(src.Addr()), dst.Port(), src.Port(), []byte("y"))
	if isTCP {
		answer = nettest.TCP(host(dst.Addr()), host(src.Addr()), nettest.Segment{SrcPort: dst.Port(), DstPort: src.Port(), Flags: ack, Seq: 1, Ack: 1, Window: 9})
	}
	g := wrap(t, answer)
	if _, reason := tab.Inbound(g, now); reason != frame.NotDropped {
		return
	}
	// The flow may have ended meanwhile and the port be another's, of the same server.
	back, who := ends(g)
	if back != dst || who.Addr() != ip(bare(c.a)) && who.Addr() != ip(bare(c.b)) || who.Port() < 80 || who.Port() > 3060 {
		t.Errorf("%v > %v became %v > %v", dst, src, back, who)
	}
	checkSums(t, g)
	passed.Add(1)
}
