package gossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	under "weft/internal/nettest/fabric"
)

// idle returns a node that runs nothing, has network "n" with a row, and knows an
// alive member "a".
func idle(t testing.TB) *Gossip {
	cfg := Config{NodeID: "me", Keys: [][]byte{testKey}, FirstVersion: 100, Transport: (*under.Port)(nil)}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	g := newGossip(cfg, nil)
	g.joined(&memberlist.Node{Name: "a", Addr: []byte{10, 0, 0, 1}, Port: 7946, Meta: joinMeta("host", nil)})
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.attachLocked("n"); err != nil {
		t.Fatal(err)
	}
	g.writeLocked(g.networks["n"], "k", []byte("mine"), false)
	return g
}

// FuzzHandle gives a node messages one after the other, cut at a byte of 0xfe: it
// answers within bounds, its tables stay true, and its own row stays.
func FuzzHandle(f *testing.F) {
	var all []byte
	for _, m := range samples() {
		m.rows = slices.DeleteFunc(m.rows, func(r Row) bool { return len(r.Value) > 1000 })
		f.Add(m.encode())
		all = append(append(all, m.encode()...), 0xfe)
	}
	f.Add(all)
	own := &message{kind: kindRows, from: "a", network: "n", rows: []Row{row("me", "k", 500, ""), row("me", "x", 501, "v"), row("a", "k", 1, "v")}}
	gone := &message{kind: kindRows, from: "a", rows: []Row{row("me", "n", 600, ""), row("me", leaving, 601, "v"), row("a", "n", 5, "v")}}
	f.Add(append(append(own.encode(), 0xfe), gone.encode()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := idle(t)
		for _, part := range bytes.Split(b, []byte{0xfe}) {
			m, err := decode(part)
			if err != nil {
				continue
			}
			for _, a := range g.handle(m) {
				if _, err := decode(a.encode()); err != nil {
					t.Fatalf("answers %+v, which nobody could read: %v", a, err)
				}
			}
		}
		check(t, g.cluster.table)
		check(t, g.networks["n"].table)
		rows := slices.DeleteFunc(g.Rows("n"), func(r Row) bool { return r.Owner != "me" })
		if got := fmt.Sprint(brief(rows)); got != "[me/k=mine]" {
			t.Fatalf("own rows %s", got)
		}
		if g.version >= maxVersion {
			t.Fatalf("version %d", g.version)
		}
	})
}

func TestReceiveCounts(t *testing.T) {
	g := idle(t)
	g.networks["n"].table.limit = 2
	rows := func(network string, rows ...Row) []byte {
		return (&message{kind: kindRows, from: "a", network: network, rows: rows}).encode()
	}
	for _, c := range []struct {
		name string
		b    []byte
		at   func(*Stats) *uint64
	}{
		{"malformed", []byte{1}, func(s *Stats) *uint64 { return &s.Malformed }},
		{"other format", []byte{9, 1, 1, 'a', 0}, func(s *Stats) *uint64 { return &s.OtherFormat }},
		{"network of others", rows("x", row("a", "k", 1, "v")), func(s *Stats) *uint64 { return &s.NotAttached }},
		{"full", rows("n", row("a", "1", 1, "v"), row("a", "2", 2, "v")), func(s *Stats) *uint64 { return &s.Full }},
		{"in its name", rows("n", row("me", "k", 1<<40, "v")), func(s *Stats) *uint64 { return &s.Contradicted }},
	} {
		before := g.Stats()
		g.receive(c.b)
		want := before
		*c.at(&want)++
		if got := g.Stats(); got != want {
			t.Errorf("%s: %+v, expected %+v", c.name, got, want)
		}
	}
}

// TestUnknownOwner: rows that come before their owner is known as a member are
// kept out of sight, and are there as soon as it is.
func TestUnknownOwner(t *testing.T) {
	g := idle(t)
	g.receive((&message{kind: kindRows, from: "a", network: "n", rows: []Row{row("b", "k", 1, "v")}}).encode())
	if got := fmt.Sprint(brief(g.Rows("n"))); got != "[me/k=mine]" {
		t.Errorf("rows %s", got)
	}
	g.joined(&memberlist.Node{Name: "b", Addr: []byte{10, 0, 0, 2}, Port: 1})
	if got := fmt.Sprint(brief(g.Rows("n"))); got != "[b/k=v me/k=mine]" {
		t.Errorf("rows %s once the owner is known", got)
	}
	if g.Stats().Malformed != 1 {
		t.Error("a member without name was not counted")
	}
	g.left(&memberlist.Node{Name: "b"})
	g.left(&memberlist.Node{Name: "never seen"})
	g.sweep(time.Now().Add(26 * time.Minute))
	if n := g.networks["n"].table.count; n != 1 {
		t.Errorf("%d rows after the sweep", n)
	}
}

// TestManyParts: a reply is complete when all parts of one node are here, in any
// order, and parts that nobody asked for are merged all the same.
func TestManyParts(t *testing.T) {
	g := idle(t)
	a := &asked{got: map[part]bool{}, done: make(chan struct{})}
	g.asked[7] = a
	for i, p := range []struct {
		from         string
		id           uint64
		index, total uint64
		complete     bool
	}{
		{"a", 7, 2, 3, false}, {"b", 7, 0, 3, false}, {"a", 7, 2, 3, false}, {"a", 8, 1, 3, false},
		{"a", 7, 1, 3, false}, {"a", 7, 0, 3, true}, {"b", 7, 1, 3, true},
	} {
		g.handle(&message{kind: kindReply, from: p.from, network: "n", id: p.id, index: p.index, total: p.total,
			rows: []Row{row("a", fmt.Sprint(i), uint64(i+1), "v")}})
		select {
		case <-a.done:
			if !p.complete {
				t.Fatalf("complete after part %d", i)
			}
		default:
			if p.complete {
				t.Fatalf("not complete after part %d", i)
			}
		}
	}
	if n := len(g.Rows("n")); n != 8 {
		t.Errorf("%d rows, expected 8", n)
	}
	if n := len(g.networks["n"].queue); n != 1 {
		t.Errorf("%d rows queued: what was fetched is gossiped again", n)
	}
}

// TestAnswers holds what each message is answered with.
func TestAnswers(t *testing.T) {
	g := idle(t)
	a := row("a", "k", 5, "v")
	g.handle(&message{kind: kindRows, from: "a", network: "n", rows: []Row{a, row("a", "dead", 6, "")}})
	mine := g.networks["n"].table.all("n", "me")[0]
	same := []ownerDigest{{"a", hashRow("k", 5)}, {"me", hashRow("k", mine.Version)}}
	versions := func(vs ...ownerVersions) []*message {
		return []*message{{kind: kindVersions, from: "me", network: "n", versions: vs}}
	}
	theirs := ownerVersions{"a", []keyVersion{{"dead", 6, true}, {"k", 5, false}}}
	for _, c := range []struct {
		name string
		m    message
		want []*message
	}{
		{"equal sum", message{kind: kindSum, sum: hashRow("a", same[0].sum) ^ hashRow("me", same[1].sum)}, nil},
		{"another sum", message{kind: kindSum, sum: 1}, []*message{{kind: kindDigest, from: "me", network: "n", digests: same}}},
		{"equal digests", message{kind: kindDigest, digests: same}, nil},
		{"an owner differs", message{kind: kindDigest, digests: []ownerDigest{{"a", 1}, same[1]}}, versions(theirs)},
		{"an owner missing there", message{kind: kindDigest, digests: same[1:]}, versions(theirs)},
		{"an owner nobody knows", message{kind: kindDigest, digests: append(same[:2:2], ownerDigest{"ghost", 1})}, nil},
		{"want", message{kind: kindWant, want: []rowKey{{"a", "k"}, {"a", "none"}}}, []*message{g.rowsMessage(g.networks["n"], []Row{a})}},
		{"older there", message{kind: kindVersions, versions: []ownerVersions{{"a", []keyVersion{{"k", 4, false}}}}},
			[]*message{g.rowsMessage(g.networks["n"], []Row{a})}},
		{"newer there", message{kind: kindVersions, versions: []ownerVersions{{"a", []keyVersion{{"k", 7, false}, {"dead", 6, true}}}}},
			[]*message{{kind: kindWant, from: "me", network: "n", want: []rowKey{{"a", "k"}}}}},
		{"request", message{kind: kindRequest, id: 3}, []*message{{kind: kindReply, from: "me", network: "n", id: 3, total: 1,
			rows: []Row{a, mine, {Network: "n", Owner: "a", Key: "dead", Version: 6, Deleted: true}}}}},
	} {
		c.m.from, c.m.network = "a", "n"
		if got := g.handle(&c.m); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: answered %s, expected %s", c.name, show(got), show(c.want))
		}
	}
}

func show(ms []*message) (s string) {
	for _, m := range ms {
		s += fmt.Sprintf("%+v ", *m)
	}
	return s
}

// TestAttachOfOther: who hears that another node attached compares with it soon,
// for both may have written before they knew of each other; what it wrote before is
// void, and no longer waits to be sent.
func TestAttachOfOther(t *testing.T) {
	g := idle(t)
	n := g.networks["n"]
	n.due = time.Now().Add(time.Hour)
	g.handle(&message{kind: kindRows, from: "a", network: "n", rows: []Row{row("a", "k", 5, "v")}})
	g.handle(&message{kind: kindRows, from: "a", rows: []Row{{Owner: "a", Key: "n", Version: 9, Value: []byte{}}}})
	if !slices.Equal(n.prefer, []string{"a"}) || time.Until(n.due) > time.Second {
		t.Errorf("prefers %v in %v", n.prefer, time.Until(n.due))
	}
	small, _ := g.takeLocked(n, false, 1, 4)
	if got := fmt.Sprint(brief(small)); got != "[me/k=mine]" || len(n.queue) != 1 {
		t.Errorf("sends %s, %d rows wait", got, len(n.queue))
	}
	out := g.compareLocked(n, time.Now().Add(time.Minute))
	if len(out) != 1 || out[0].to.Name != "a" || n.prefer != nil {
		t.Errorf("compares with %v", out)
	}
}

// TestAttachKnowsFloors: what others wrote before they attached is void for one
// that attaches after them too.
func TestAttachKnowsFloors(t *testing.T) {
	g := idle(t)
	g.handle(&message{kind: kindRows, from: "a", rows: []Row{{Owner: "a", Key: "other", Version: 9, Value: []byte{}}}})
	if err := g.attachLocked("other"); err != nil {
		t.Fatal(err)
	}
	g.handle(&message{kind: kindRows, from: "a", network: "other", rows: []Row{row("a", "old", 8, "v"), row("a", "new", 10, "v")}})
	if got := fmt.Sprint(brief(g.Rows("other"))); got != "[a/new=v]" {
		t.Errorf("rows %s", got)
	}
}

// TestLeavingIsTold: a node that left and came back has to hear what it said.
func TestLeavingIsTold(t *testing.T) {
	g := idle(t)
	g.handle(&message{kind: kindRows, from: "a", rows: []Row{{Owner: "a", Key: leaving, Version: 9, Value: []byte{}}}})
	if g.visible("a") || !g.admit(g.cluster)("a") || g.admit(g.networks["n"])("a") {
		t.Error("a node that leaves is to be compared in the cluster's table, and there alone")
	}
}

// TestUnreadStream: memberlist sets no deadline to what it writes; the transport
// does.
func TestUnreadStream(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *fabric) {
		g := f.node(t, 1)
		f.Port(netip.MustParseAddrPort("10.0.0.9:7946")) // takes streams and reads none
		start := time.Now()
		err := g.stream(memberlist.Node{Name: "n9", Addr: []byte{10, 0, 0, 9}, Port: 7946}, make([]byte, 100_000))
		if err == nil || time.Since(start) > 15*time.Second || g.Stats().Unsent != 1 {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(joinMeta("host", []byte("meta")))
	f.Add(joinMeta("", nil))
	f.Add([]byte{5, 'h'})
	f.Fuzz(func(t *testing.T, b []byte) {
		name, meta, err := splitMeta(b)
		if err == nil && !bytes.Equal(joinMeta(name, meta), b) {
			t.Fatalf("%q became %q and %q", b, name, meta)
		}
	})
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	refused := 0
	l := newLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), func() { refused++ })
	l.Printf("[DEBUG] memberlist: Stream connection")
	l.Printf("[INFO] memberlist: Suspect")
	l.Printf("[WARN] memberlist: Refuting a %s message", "dead")
	l.Printf("[ERR] memberlist: Conflicting address")
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `level=WARN msg="gossip: Refuting a dead message"`) ||
		!strings.Contains(got, `msg="gossip: Conflicting address"`) {
		t.Errorf("logged %s", got)
	}
	for range 1000 {
		l.Printf("[ERR] memberlist: Decrypt packet failed: no key %s", "from=10.0.0.9:1")
	}
	if n := strings.Count(out.String(), "\n"); n != 3 || refused != 1000 {
		t.Errorf("%d lines, %d refused, expected 3 and 1000", n, refused)
	}
	for i := range 1000 {
		l.Printf("[ERR] memberlist: kind %d: x", i)
	}
	if n := strings.Count(out.String(), "\n"); n != logLines {
		t.Errorf("%d lines, expected %d", n, logLines)
	}
	w := &logWriter{}
	at := time.Unix(1000, 0)
	w.admit("a", at)
	if w.admit("a", at.Add(logWindow-1)) || !w.admit("a", at.Add(logWindow)) {
		t.Error("a new window does not begin when it should")
	}
}
