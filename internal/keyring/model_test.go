package keyring

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: the model
//
// A world is some nodes with a ring each, a virtual clock, and a wire that delays
// everything by a time of its own, so that it comes in another order, and loses some
// of the announcements and probes. Each node does what internal/node does: it lets
// time pass once a second, is asked for probes every step while that is unsettled,
// publishes a table when it is told to, and tells the others all it announces again
// and again. In each step each node sends a packet to each other one. None of these is
// lost by the wire, so each must be opened.

const step = 10 * time.Millisecond

type world struct {
	t     *testing.T
	rand  *rand.Rand
	now   time.Time
	nodes []*member // by number; 0 is nobody
	wire  map[int64][]flight
	last  map[string]uint64 // the last IV, by key
	keys  map[*ipsec.Outbound]string
	sent  int
	lossy bool
	early int // probes that came before the announcement
	open  *ipsec.Opener
	old   []flight // packets that were opened once
}

// A flight is something on its way.
type flight struct {
	from, to int
	packet   []byte // sealed
	probe    bool
	say      []byte // an announcement
	began    time.Time
}

// A member is a node of the world.
type member struct {
	*Ring
	table      *ipsec.Table
	generation uint64
	epoch      uint64
	tick, tell time.Time
}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, seed)), now: start, nodes: []*member{nil}, wire: map[int64][]flight{},
		last: map[string]uint64{}, keys: map[*ipsec.Outbound]string{}, lossy: true, open: ipsec.NewOpener(),
	}
	for range nodes {
		w.nodes = append(w.nodes, &member{})
	}
	return w
}

// restart gives a node a new life, which knows nothing of the one before but its
// generation.
func (w *world) restart(i int) {
	m := w.nodes[i]
	*m = member{Ring: newRing(i, m.generation+1), generation: m.generation + 1, tick: w.now}
}

// renew gives a node new keys of the epochs that it is in.
func (w *world) renew(i int) {
	m := w.nodes[i]
	m.generation++
	if err := m.Renew(m.generation, w.now); err != nil {
		w.t.Fatal(err)
	}
	m.tell = w.now
	m.publish()
}

// post puts something on the wire for up to most.
func (w *world) post(f flight, most time.Duration) {
	f.began = w.now
	at := w.now.Add(step + time.Duration(w.rand.Int64N(int64(most))))
	n := at.Sub(start) / step
	w.wire[int64(n)] = append(w.wire[int64(n)], f)
}

// lose says that the wire loses one of those that can be lost.
func (w *world) lose() bool { return w.lossy && w.rand.IntN(4) == 0 }

// key names an SA's key, and notices if another SA has it too.
func (w *world) key(from int, keys *ipsec.Peer, sa *ipsec.Outbound) string {
	if k, ok := w.keys[sa]; ok {
		return k
	}
	for _, e := range keys.Export(vtep(from).Addr()) {
		if e.SPI == sa.SPI() && e.From == vtep(from).Addr() {
			k := string(e.Key)
			if _, used := w.last[k]; used {
				w.t.Fatalf("two SAs have one key")
			}
			w.keys[sa], w.last[k] = k, 0
			return k
		}
	}
	w.t.Fatal("an SA that is sent by is not the peer's")
	return ""
}

// send seals a packet by an SA, and notices an IV that came before.
func (w *world) send(from, to int, keys *ipsec.Peer, sa *ipsec.Outbound, probe bool) {
	key := w.key(from, keys, sa)
	p := sealed(w.t, sa)
	iv := binary.BigEndian.Uint64(p[8:])
	if iv <= w.last[key] {
		w.t.Fatalf("IV %d comes after %d", iv, w.last[key])
	}
	w.last[key] = iv
	w.sent++
	if !probe || !w.lose() {
		w.post(flight{from: from, to: to, packet: p, probe: probe}, 60*time.Millisecond)
	}
}

func (m *member) publish() { m.table, _ = ipsec.NewTable(m.Inbound(nil)) }

// arrive takes what comes in this step.
func (w *world) arrive() {
	n := int64(w.now.Sub(start) / step)
	come := w.wire[n]
	delete(w.wire, n)
	for _, f := range come {
		m := w.nodes[f.to]
		if f.say != nil {
			a, err := ipsec.Decode(f.say, testPSK.Verify)
			if err != nil {
				w.t.Fatal(err)
			}
			changed, err := m.Hear(w.now, a)
			if err != nil {
				w.t.Fatal(err)
			}
			if changed {
				m.publish()
			}
			continue
		}
		kept := bytes.Clone(f.packet)
		_, r := w.open.Open(m.table, vtep(f.from).Addr(), f.packet)
		if f.probe && r == frame.UnknownSPI {
			w.early++
			continue
		}
		if r != frame.NotDropped {
			w.t.Fatalf("after %v: a packet from %d to %d (probe %v) of %v ago: %v\n%s", w.now.Sub(start), f.from, f.to, f.probe, w.now.Sub(f.began), r, w)
		}
		if w.rand.IntN(50) == 0 && len(w.old) < 4000 {
			f.packet = kept
			w.old = append(w.old, f)
		}
	}
}

// turn is one step of a node.
func (w *world) turn(i int, epoch uint64, data bool) {
	m := w.nodes[i]
	if epoch > m.epoch {
		began, err := m.Begin(epoch, w.now)
		if !began || err != nil {
			w.t.Fatalf("node %d, epoch %d: %v, %v", i, epoch, began, err)
		}
		m.epoch, m.tell = epoch, w.now
		m.publish()
	}
	probes, _ := m.Probes(w.now)
	for _, p := range probes {
		to := int(p.To.Addr().As4()[3])
		keys, _ := m.Peer(name(to))
		w.send(i, to, keys, p.By, true)
	}
	if !w.now.Before(m.tick) {
		m.tick = w.now.Add(time.Second)
		if m.Tick(w.now) {
			m.publish()
		}
	}
	for to := range w.nodes {
		if to == 0 || to == i {
			continue
		}
		if keys, _ := m.Peer(name(to)); keys != nil && data {
			if sa := keys.Outbound(w.rand.IntN(2)); sa != nil {
				w.send(i, to, keys, sa, false)
			}
		}
	}
	if !w.now.Before(m.tell) {
		m.tell = w.now.Add(50 * time.Millisecond)
		for to := range w.nodes {
			for _, say := range m.Announcements() {
				if to != 0 && to != i && !w.lose() {
					w.post(flight{from: i, to: to, say: say}, 300*time.Millisecond)
				}
			}
		}
	}
}

func (w *world) String() string {
	var b bytes.Buffer
	for i, m := range w.nodes[1:] {
		for _, s := range m.Status() {
			fmt.Fprintf(&b, "node %d of %s:", i+1, s.Node)
			for _, p := range s.Pairs {
				fmt.Fprintf(&b, " %d.%d %v", p.Generation, p.Epoch, p.State)
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// TestEverySecond changes keys each second, 1,000 times, among three nodes that hear of
// the epochs and of each other late, out of order, or only when it is said again.
func TestEverySecond(t *testing.T) {
	w := newWorld(t, 1, 3)
	behind := make([]time.Duration, 4)
	for i := 1; i <= 3; i++ {
		w.restart(i)
	}
	const first = 10
	everybody := false
	for w.now.Before(start.Add(1000 * time.Second)) {
		w.arrive()
		if w.now.Sub(start)%time.Second == 0 { // who hears when of the epoch to come
			for i := range behind {
				behind[i] = time.Duration(w.rand.Int64N(int64(400 * time.Millisecond)))
			}
		}
		for i := 1; i <= 3; i++ {
			w.turn(i, max(w.nodes[i].epoch, first+uint64((w.now.Sub(start)-behind[i]+time.Second)/time.Second)), everybody)
		}
		// From the moment that all know each other no packet may fail.
		everybody = everybody || w.now.Sub(start) > 2*time.Second
		w.now = w.now.Add(step)
	}
	for i, m := range w.nodes[1:] {
		if e, _ := m.Epoch(); e < first+1000 {
			t.Errorf("node %d is in epoch %d", i+1, e)
		}
		for _, s := range m.Status() {
			at := slices.IndexFunc(s.Pairs, func(p ipsec.PairStatus) bool { return p.State == ipsec.Sending })
			if at < 0 || s.Pairs[at].Epoch+3 < m.epoch || len(s.Pairs) > 4 {
				t.Errorf("node %d of %s, in epoch %d: %+v", i+1, s.Node, m.epoch, s.Pairs)
			}
		}
		if n := m.table.Len(); n > 2*2*4 {
			t.Errorf("node %d has %d SAs", i+1, n)
		}
	}
	if len(w.keys) < 6*1000 || w.sent < 500_000 {
		t.Errorf("%d packets by %d keys", w.sent, len(w.keys))
	}
	t.Logf("%d packets by %d keys; %d probes were faster than what was announced", w.sent, len(w.keys), w.early)
}

// TestRenewEverySecond has one node or another renew its key each second, in one epoch.
func TestRenewEverySecond(t *testing.T) {
	w := newWorld(t, 3, 3)
	for i := 1; i <= 3; i++ {
		w.restart(i)
	}
	for w.now.Before(start.Add(200 * time.Second)) {
		w.arrive()
		everybody := w.now.Sub(start) > 2*time.Second
		if everybody && w.now.Sub(start)%time.Second == 0 {
			w.renew(1 + w.rand.IntN(3))
		}
		for i := 1; i <= 3; i++ {
			w.turn(i, 10, everybody)
		}
		w.now = w.now.Add(step)
	}
	for i, m := range w.nodes[1:] {
		for other, o := range w.nodes[1:] {
			if _, at := m.Peer(name(other + 1)); i != other && at.Generation != o.generation {
				t.Errorf("node %d believes in generation %d of node %d, which is in %d", i+1, at.Generation, other+1, o.generation)
			}
		}
	}
}

// TestRestarts starts either of two nodes again, 1,000 times, in the same few epochs.
// What somebody recorded of earlier lives is played to both again and again: no packet
// of it is accepted, and no announcement is believed once the node's own was heard.
func TestRestarts(t *testing.T) {
	w := newWorld(t, 2, 2)
	w.restart(1)
	w.restart(2)
	var recorded []flight // announcements
	accepted := 0
	for life := range 1000 {
		epoch := uint64(1 + life/100)
		// Until they have heard of each other, and a little longer.
		for range 60 {
			w.arriveLate()
			w.turn(1, max(w.nodes[1].epoch, epoch), true)
			w.turn(2, max(w.nodes[2].epoch, epoch), true)
			w.now = w.now.Add(step)
		}
		for i := 1; i <= 2; i++ {
			other := 3 - i
			for _, say := range w.nodes[i].Announcements() {
				recorded = append(recorded, flight{from: i, to: other, say: say})
			}
			if _, at := w.nodes[i].Peer(name(other)); at.Generation != w.nodes[other].generation {
				t.Fatalf("life %d: node %d believes generation %d, it is %d", life, i, at.Generation, w.nodes[other].generation)
			}
		}
		if got := talk(t, w.nodes[1].Ring, w.nodes[2].Ring, 1, 2); got != both {
			t.Fatalf("life %d: %s\n%s", life, got, w)
		}
		for range 20 {
			f := recorded[w.rand.IntN(len(recorded))]
			a, err := ipsec.Decode(f.say, testPSK.Verify)
			if err != nil {
				t.Fatal(err)
			}
			if changed, _ := w.nodes[f.to].Hear(w.now, a); changed && a.Generation < w.nodes[f.from].generation {
				t.Fatalf("life %d: node %d believes what node %d said in generation %d", life, f.to, f.from, a.Generation)
			}
		}
		accepted += w.replay()
		w.restart(1 + w.rand.IntN(2))
		accepted += w.replay()
	}
	if accepted > 0 || len(w.old) < 1000 {
		t.Errorf("%d packets were accepted twice; %d were recorded", accepted, len(w.old))
	}
}

// arriveLate is arrive where a packet may be for an earlier life, or for one that has
// not heard of the sender yet.
func (w *world) arriveLate() {
	n := int64(w.now.Sub(start) / step)
	for _, f := range w.wire[n] {
		m := w.nodes[f.to]
		if f.say != nil {
			if a, err := ipsec.Decode(f.say, testPSK.Verify); err == nil {
				if changed, _ := m.Hear(w.now, a); changed {
					m.publish()
				}
			}
			continue
		}
		kept := bytes.Clone(f.packet)
		if _, r := w.open.Open(m.table, vtep(f.from).Addr(), f.packet); r == frame.NotDropped && len(w.old) < 4000 && w.rand.IntN(20) == 0 {
			f.packet = kept
			w.old = append(w.old, f)
		}
	}
	delete(w.wire, n)
}

// replay plays recorded packets again, to whom they were for and back to who sent
// them.
func (w *world) replay() (accepted int) {
	for range min(50, len(w.old)) {
		f := w.old[w.rand.IntN(len(w.old))]
		for _, to := range []int{f.to, f.from} {
			if _, r := w.open.Open(w.nodes[to].table, vtep(f.from).Addr(), bytes.Clone(f.packet)); r == frame.NotDropped {
				accepted++
			}
		}
	}
	return accepted
}
