package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cnm"
)

// Three managers: what one decides, all know; a killed leader is replaced; one
// that comes back catches up.
func TestThreeManagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow("n2", "n3")
		if v := f.votes(); !slices.Equal(v, []string{"+n1", "+n2", "+n3"}) {
			t.Fatalf("votes %v", v)
		}
		f.must(overlay(1, "a"))
		f.agree(f.must(alloc(1, 1)).Version)

		first, s := f.leader()
		names, stores := f.running()
		other := stores[names[(slices.Index(names, first)+1)%3]]
		_, err := other.Apply(context.Background(), alloc(2, 1))
		var not *NotLeader
		if !errors.Is(err, ErrNotLeader) || !errors.Is(err, cnm.Unavailable) || !errors.As(err, &not) || not.ID != first || not.Addr != ctl(first).String() {
			t.Fatalf("a follower answered %v", err)
		}
		if err := other.Barrier(context.Background()); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("barrier of a follower: %v", err)
		}
		_, changed := other.Watch()
		f.kill(first)
		killed := time.Now()
		<-changed // leadership is lost
		second, _ := f.leader()
		if took := time.Since(killed); second == first || took > 3*time.Second {
			t.Fatalf("%s leads %s after %s was killed, want within 3 s", second, took, first)
		}
		r := f.must(alloc(2, 1))
		if got := addresses(*r.Endpoint); got != "10.0.1.3/24" {
			t.Fatalf("the next leader gave %s", got)
		}
		f.start(first)
		f.agree(r.Version)
		if _, err := s.Apply(context.Background(), alloc(3, 1)); err == nil {
			t.Fatal("a closed store applied a command")
		}
	})
}

// A leader that is cut off takes no more commands, and what it had not agreed on is
// gone when it comes back.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow("n2", "n3")
		f.must(overlay(1, "a"))
		old, s := f.leader()
		var rest []string
		for _, n := range []string{"n1", "n2", "n3"} {
			if n != old {
				rest = append(rest, ctl(n).String())
			}
		}
		f.cut([]string{ctl(old).String()}, rest)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := s.Apply(ctx, alloc(1, 1)); !errors.Is(err, ErrUncertain) {
			t.Fatalf("a leader without followers answered %v", err)
		}
		time.Sleep(5 * time.Second)
		if s.IsLeader() {
			t.Fatal("it still believes to lead")
		}
		if _, err := s.Apply(ctx, alloc(1, 1)); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("later it answered %v", err)
		}
		if r := f.must(alloc(2, 1)); addresses(*r.Endpoint) != "10.0.1.2/24" {
			t.Fatalf("the others gave %s", addresses(*r.Endpoint))
		}
		f.cut(nil, nil)
		f.agree(f.must(alloc(3, 1)).Version)
		if _, there := s.State().Endpoints.Get(id(1)); there {
			t.Fatal("what nobody agreed on is in the state")
		}
	})
}

// A manager that joins late gets a snapshot; restarts read it again, and the log
// behind it.
func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{SnapshotInterval: time.Second, SnapshotThreshold: 20, Trailing: 5})
		f.grow()
		f.must(overlay(1, "a", "10.5.0.0/16"))
		for i := range 400 {
			f.must(alloc(i, 1))
			if i%50 == 49 {
				time.Sleep(2 * time.Second) // a snapshot is made
			}
		}
		first, err := f.stores["n1"].log.FirstIndex()
		if err != nil || first < 300 {
			t.Fatalf("the log begins at %d, %v: there was no snapshot", first, err)
		}
		f.start("n2")
		f.must(manager("n2"))
		f.reconcile()
		f.agree(f.must(ReleaseEndpoint{ID: id(5)}).Version)
		f.kill("n1")
		f.kill("n2")
		f.start("n1")
		f.start("n2")
		r := f.must(alloc(1000, 1))
		if got := addresses(*r.Endpoint); got != "10.5.1.146/16" {
			t.Fatalf("after a restart got %s", got)
		}
		f.agree(r.Version)
	})
}

// Votes follow the managers there are.
func TestReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		check := func(want ...string) {
			t.Helper()
			f.reconcile()
			if v := f.votes(); !slices.Equal(v, want) {
				t.Fatalf("managers %v, want %v", v, want)
			}
		}
		f.grow("n2")
		check("+n1", "n2") // a standby
		f.agree(f.must(overlay(1, "a")).Version)
		f.start("n3")
		three := manager("n3")
		three.Now = t0.Add(time.Hour)
		f.must(three)
		check("+n1", "+n2", "+n3")
		leader, _ := f.leader()
		f.must(UpdateNode{ID: leader, Spec: cnm.NodeSpec{Role: cnm.Worker, Availability: cnm.Active}, Now: t0})
		f.reconcile()
		votes := strings.Join(f.votes(), " ")
		if strings.Contains(votes, leader) || strings.Count(votes, "+") != 1 {
			t.Fatalf("after the leader %s was demoted: %s", leader, votes)
		}
		demoted := f.stores[leader]
		time.Sleep(30 * time.Second)
		if _, err := demoted.Apply(t.Context(), overlay(2, "b")); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("a removed manager answered %v", err)
		}
		// It may come back.
		f.must(UpdateNode{ID: leader, Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: cnm.Active}, Now: t0})
		check("+n1", "+n2", "+n3")
		f.agree(f.must(overlay(3, "c")).Version)
		f.must(UpdateNode{ID: leader, Spec: cnm.NodeSpec{Role: cnm.Worker, Availability: cnm.Active}, Now: t0})
		f.reconcile()
		// A standby may die: nothing stops.
		for _, v := range f.votes() {
			if v[0] != '+' {
				f.kill(v)
			}
		}
		f.must(overlay(2, "b"))
	})
}

// The standby takes over for good when the only voter is lost.
func TestForceNewCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow("n2")
		f.must(overlay(1, "a"))
		f.agree(f.must(alloc(1, 1)).Version)
		f.kill("n1")
		time.Sleep(10 * time.Second)
		if f.stores["n2"].IsLeader() {
			t.Fatal("a standby leads by itself")
		}
		if _, err := f.stores["n2"].Apply(t.Context(), alloc(2, 1)); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), "does not have a leader") {
			t.Fatalf("a standby without a voter answered %v", err)
		}
		f.kill("n2")
		other := f.config("n2")
		other.NodeID = "n9"
		if err := ForceNewCluster(other); err == nil || !strings.Contains(err.Error(), "another node's") {
			t.Fatalf("as another node: %v", err)
		}
		if err := ForceNewCluster(f.config("n2")); err != nil {
			t.Fatal(err)
		}
		f.start("n2")
		if v := f.votes(); !slices.Equal(v, []string{"+n2"}) {
			t.Fatalf("managers %v", v)
		}
		r := f.must(alloc(2, 1))
		if got := addresses(*r.Endpoint); got != "10.0.1.3/24" {
			t.Fatalf("gave %s", got)
		}
		s := f.stores["n2"].State()
		if n, _ := s.Nodes.Get("n1"); n.Spec.Role != cnm.Worker || n.Control.IsValid() {
			t.Fatalf("the lost manager is still one: %+v", n)
		}
		f.reconcile()
		if v := f.votes(); !slices.Equal(v, []string{"+n2"}) {
			t.Fatalf("managers %v", v)
		}
	})
	if err := ForceNewCluster(newFleet(t, Tuning{}).config("n1")); err == nil {
		t.Fatal("made a cluster of nothing")
	}
}

// A leader that hands over is followed at once, with nothing lost.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow("n2", "n3")
		r := f.must(overlay(1, "a"))
		old, s := f.leader()
		began := time.Now()
		if err := s.HandOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.kill(old)
		if next, _ := f.leader(); next == old || time.Since(began) > 500*time.Millisecond {
			t.Fatalf("%s leads after %s, %s did before", next, time.Since(began), old)
		}
		f.agree(r.Version)
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, Tuning{})
		f.grow()
		s := f.stores["n1"]
		before, changed := s.Watch()
		select {
		case <-changed:
			t.Fatal("told of a change that was not")
		case <-time.After(time.Minute):
		}
		r := f.must(overlay(1, "a"))
		<-changed
		if after := s.State(); after.Version != r.Version || after.Networks.Len() != 1 || before.Networks.Len() != 0 {
			t.Fatalf("version %d with %d networks, before %d", after.Version, after.Networks.Len(), before.Networks.Len())
		}
		if same := f.must(overlay(1, "a")); same.Version != r.Version {
			t.Fatalf("a command without effect made version %d of %d", same.Version, r.Version)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx, r.Version+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("waited for what never comes: %v", err)
		}
		if _, err := s.Apply(ctx, alloc(1, 1)); err == nil {
			t.Fatal("applied after the deadline")
		}
		if _, err := s.ApplyEncoded(t.Context(), []byte("{}")); !errors.Is(err, cnm.Unsupported) {
			t.Fatalf("applied rubbish: %v", err)
		}
		done := make(chan error)
		go func() { done <- s.Wait(context.Background(), 1<<40) }()
		synctest.Wait()
		f.kill("n1")
		if err := <-done; err == nil {
			t.Fatal("a wait outlived the store")
		}
	})
}

// The steps to every target from every beginning end at the rule, through states
// that can still decide.
// TestStepsAway: the votes of those who do not answer go first.
func TestStepsAway(t *testing.T) {
	for _, c := range []struct{ name, has, managers, away, want string }{
		{"another is demoted", "+1* +2 +3", "1 3", "3", "demote 3, remove 2"},
		{"it is demoted itself", "+1* +2 +3", "1 2", "3", "remove 3, demote 2"},
		{"all are there", "+1* +2 +3", "1 3", "", "remove 2, demote 3"},
		{"a new one comes", "+1* +2 +3", "1 3 4", "3", "add 4, promote 4, remove 2"},
		{"the leader goes", "+1* +2 +3", "2 3", "3", "demote 3, hand over"},
	} {
		var managers []Server
		for _, id := range strings.Fields(c.managers) {
			managers = append(managers, Server{ID: id, Addr: id})
		}
		var words []string
		for _, s := range awayFirst(steps(servers(c.has), managers), servers(c.has), func(id string) bool { return id != c.away }) {
			words = append(words, strings.TrimSpace(s.verb+" "+s.id))
		}
		if got := strings.Join(words, ", "); got != c.want {
			t.Errorf("%s: steps %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSteps(t *testing.T) {
	for _, c := range []struct{ name, has, managers, want string }{
		{"alone", "+1*", "1", ""},
		{"standby", "+1*", "1 2", "add 2"},
		{"third", "+1* 2", "1 2 3", "add 3, promote 2, promote 3"},
		{"fourth", "+1* +2 +3", "1 2 3 4", "add 4"},
		{"fifth", "+1* +2 +3 4", "1 2 3 4 5", "add 5, promote 4, promote 5"},
		{"seventh", "+1* +2 +3 +4 +5 6", "1 2 3 4 5 6 7", "add 7"},
		{"voter gone, standby", "+1* +2 +3 4", "1 2 4", "remove 3, promote 4"},
		{"voter gone", "+1* +2 +3", "1 2", "remove 3, demote 2"},
		{"voter gone, leader late", "+1 +2* +3", "1 2", "remove 3, demote 1"},
		{"leader gone", "+1* +2 +3", "2 3", "demote 3, hand over"},
		{"only voter gone", "+1* 2", "2", "promote 2, hand over"},
		{"moved", "+1* +2@old +3", "1 2 3", "promote 2"},
		{"standby moved", "+1* 2@old", "1 2", "add 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var managers []Server
			for _, id := range strings.Fields(c.managers) {
				managers = append(managers, Server{ID: id, Addr: id})
			}
			var words []string
			for _, s := range steps(servers(c.has), managers) {
				words = append(words, strings.TrimSpace(s.verb+" "+s.id))
			}
			if got := strings.Join(words, ", "); got != c.want {
				t.Fatalf("steps %q, want %q", got, c.want)
			}
		})
	}
	for n := 1; n < 1<<6; n++ {
		for m := 1; m < 1<<6; m++ {
			for leader := range 6 {
				if n>>leader&1 == 1 {
					walk(t, n, m, fmt.Sprint(leader+1))
				}
			}
		}
	}
}

// servers reads "+1* 2@old": + votes, * leads, @ where it is.
func servers(text string) (out []Server) {
	for _, w := range strings.Fields(text) {
		var s Server
		w, s.Voter = strings.CutPrefix(w, "+")
		w, s.Leader = strings.CutSuffix(w, "*")
		s.ID, s.Addr, _ = strings.Cut(w, "@")
		if s.Addr == "" {
			s.Addr = s.ID
		}
		out = append(out, s)
	}
	return out
}

// walk takes steps from servers n, all with votes, to managers m, both bit sets.
func walk(t *testing.T, n, m int, leader string) {
	t.Helper()
	var has, managers []Server
	for i := range 6 {
		s := Server{ID: fmt.Sprint(i + 1), Addr: fmt.Sprint(i + 1)}
		if m>>i&1 == 1 {
			managers = append(managers, s)
		}
		if n>>i&1 == 1 {
			s.Voter, s.Leader = true, s.ID == leader
			has = append(has, s)
		}
	}
	for round := 0; ; round++ {
		list := steps(has, managers)
		if len(list) == 0 {
			break
		}
		if round > 2 {
			t.Fatalf("from %b to %b led by %s: no end, at %+v", n, m, leader, has)
		}
		for _, s := range list {
			at := slices.IndexFunc(has, func(h Server) bool { return h.ID == s.id })
			switch s.verb {
			case "remove":
				has = slices.Delete(has, at, at+1)
			case "add":
				has = append(has, Server{ID: s.id, Addr: s.addr})
			case "promote":
				has[at].Voter = true
			case "demote":
				has[at].Voter = false
			case "hand over":
				next := slices.IndexFunc(has, func(h Server) bool { return h.Voter && !h.Leader })
				if next < 0 {
					t.Fatalf("from %b to %b led by %s: nobody to hand over to in %+v", n, m, leader, has)
				}
				for i := range has {
					has[i].Leader = i == next
				}
			}
			if !slices.ContainsFunc(has, func(h Server) bool { return h.Voter && h.Leader }) {
				t.Fatalf("from %b to %b led by %s: %s %s took the leader or its vote: %+v", n, m, leader, s.verb, s.id, has)
			}
		}
	}
	votes := 0
	for _, h := range has {
		if h.Voter {
			votes++
		}
	}
	if len(has) != len(managers) || votes%2 != 1 || votes > 5 || len(managers) < 7 && votes < len(managers)-1 {
		t.Fatalf("from %b to %b led by %s: ended at %+v", n, m, leader, has)
	}
}
