package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
)

// while runs something again and again until the test's body has ended.
func while(t *testing.T, do func()) (stop func()) {
	t.Helper()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				do()
			}
		}
	})
	stop = sync.OnceFunc(func() { close(done); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// TestUseHolds: a network that is used is had, also when the announcer is just about
// to take it away for want of use.
func TestUseHolds(t *testing.T) {
	m := testCluster(t, 0)[0].Member
	m.SetShares(nil)
	while(t, func() { wake(m.toAnnounce) })
	for i := range 3000 {
		if err := m.Use(t.Context(), "net"); err != nil {
			t.Fatal(err)
		}
		for range rand.IntN(3) {
			time.Sleep(time.Microsecond)
		}
		if err := m.gossip.Delete("net", "nobody"); errors.Is(err, gossip.ErrNotAttached) {
			t.Fatalf("use %d: %v", i, err)
		}
		m.Unuse("net")
	}
}

// TestReleaseAndAskAgain: an endpoint that was given back and asks again at once has
// what it was told it has.
func TestReleaseAndAskAgain(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	m, id := hosts[1].Member, cnm.NewID()
	for i := range 200 {
		v4, _, err := m.Allocate(t.Context(), Want{Endpoint: id, Network: nw.ID})
		if err != nil {
			t.Fatal(err)
		}
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
		e, ok := hosts[0].manager.store.State().Endpoints.Get(id)
		if !ok || e.IPv4 != v4 {
			t.Fatalf("time %d: it was told %s, the managers say %s (%v)", i, v4, e.IPv4, ok)
		}
		m.Release(id)
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
	}
	eventually(t, "it is given back", func() bool { return hosts[0].manager.store.State().Endpoints.Len() == 0 })
}

// TestUncertainLease: what was asked for and not answered in time is given back.
func TestUncertainLease(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	got, late := 0, 0
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3000))*time.Microsecond)
		if _, _, err := hosts[rand.IntN(2)].Allocate(ctx, Want{Endpoint: cnm.NewID(), Network: nw.ID}); err == nil {
			got++
		} else {
			late++
		}
		cancel()
	}
	t.Logf("%d answered, %d not", got, late)
	eventually(t, "what was not answered is free", func() bool { return hosts[0].manager.store.State().Endpoints.Len() == got })
	time.Sleep(100 * time.Millisecond)
	if n := hosts[0].manager.store.State().Endpoints.Len(); n != got {
		t.Errorf("%d leases, %d were answered", n, got)
	}
}

// TestKeepTwice: a node that says twice what it has, while the first is on its way,
// has what it said last, and goes on.
func TestKeepTwice(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	m := hosts[1].Member
	ids := make([]string, 4)
	for i := range ids {
		ids[i] = cnm.NewID()
		if _, _, err := m.Allocate(t.Context(), Want{Endpoint: ids[i], Network: nw.ID}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		m.Keep(ids[:3])
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Microsecond)
		m.Keep(ids[:2])
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, _, err := m.Allocate(ctx, Want{Endpoint: ids[0], Network: nw.ID}); err != nil {
			t.Fatalf("time %d: %v", i, err)
		}
		cancel()
	}
	if n := hosts[0].manager.store.State().Endpoints.Len(); n != 2 {
		t.Errorf("%d leases, 2 expected", n)
	}
}

// TestRenewUnderCalls: a certificate that is renewed cuts no call short.
func TestRenewUnderCalls(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	m := hosts[1].Member
	while(t, func() {
		if err := m.renewNow(); err != nil && m.ctx.Err() == nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
	})
	for range 200 {
		if _, _, err := m.Allocate(t.Context(), Want{Endpoint: cnm.NewID(), Network: nw.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRowsFollow: endpoints that come and go, and networks that are used and not, as
// fast as they can: in the end the others see what there is.
func TestRowsFollow(t *testing.T) {
	hosts := testCluster(t, 1)
	nets := []string{overlayNet(t, hosts[0].Member, "a").ID, overlayNet(t, hosts[0].Member, "b").ID}
	for _, n := range nets {
		if err := hosts[1].Use(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	m := hosts[0].Member
	for i := range 2 {
		while(t, func() {
			if err := m.Use(t.Context(), nets[i]); err == nil {
				time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
				m.Unuse(nets[i])
			}
		})
	}
	var all []Endpoint
	for i := range 12 {
		e := rose()
		e.ID, e.Sandbox = cnm.NewID(), fmt.Sprint("s", i)
		all = append(all, e)
	}
	for round := range 15 {
		var last map[string]Share
		for range 30 {
			last = map[string]Share{}
			for _, n := range nets {
				if rand.IntN(4) > 0 {
					last[n] = Share{Endpoints: slices.Clone(all[rand.IntN(6) : 6+rand.IntN(6)])}
				}
			}
			m.SetShares(last)
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
		}
		eventually(t, fmt.Sprint("round ", round), func() bool {
			for _, n := range nets {
				var got, want []string
				for _, e := range hosts[1].Neighbours(n).Endpoints {
					got = append(got, e.ID)
				}
				for _, e := range last[n].Endpoints {
					want = append(want, e.ID)
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					return false
				}
			}
			return true
		})
	}
}

// TestSettledAfterSetShares: a use that ends before the node has said what lives
// here does not make its tables believed.
func TestSettledAfterSetShares(t *testing.T) {
	m := testCluster(t, 0)[0].Member
	if err := m.Use(t.Context(), "net"); err != nil {
		t.Fatal(err)
	}
	m.Unuse("net")
	time.Sleep(100 * time.Millisecond)
	if m.Settled() {
		t.Error("settled before SetShares")
	}
	m.SetShares(nil)
	eventually(t, "settled", m.Settled)
}

// TestKeepLate: what a node said of what it has, and was taken for lost, takes nothing
// that it was given after it had said it again.
func TestKeepLate(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	m, g := hosts[1].Member, hosts[0].manager
	give := func() string {
		t.Helper()
		id := cnm.NewID()
		if _, _, err := m.Allocate(t.Context(), Want{Endpoint: id, Network: nw.ID}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	has := func(id string) bool { _, ok := g.store.State().Endpoints.Get(id); return ok }
	who, old := caller{m.ID(), cnm.Worker}, give()
	first := &releaseRequest{Keep: true}
	r, err := g.release(t.Context(), who, first)
	if err != nil || !has(old) {
		t.Fatalf("without a version it gives back: %v", err)
	}
	second := &releaseRequest{Keep: true, Before: r.Version}
	m.Keep(nil)
	fresh := give() // waits until Keep was heard
	if has(old) {
		t.Error("what it no longer has is not given back")
	}
	for _, late := range []*releaseRequest{first, second} {
		if _, err := g.release(t.Context(), who, late); err != nil || !has(fresh) {
			t.Errorf("%+v, late, takes what was given since: %v", late, err)
		}
	}
}

// TestAnnounceUnderRenew: a node that says where it is while it is given a certificate
// is known by both.
func TestAnnounceUnderRenew(t *testing.T) {
	hosts := testCluster(t, 1)
	m, at := hosts[1].Member, hosts[0].self().Control
	for i := range 50 {
		self := m.self()
		self.Gossip = netip.AddrPortFrom(self.Gossip.Addr(), uint16(1000+i))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := m.renewNow(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := askOne[none](t.Context(), m, at, "Announce", &nodeRequest{self}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		n, _ := hosts[0].manager.node(m.ID())
		if own := m.identity.Load().Certificate().SerialNumber.Text(16); n.Certificate.Serial != own || n.Gossip != self.Gossip {
			t.Fatalf("time %d: certificate %s at %s is known, it has %s at %s", i, n.Certificate.Serial, n.Gossip, own, self.Gossip)
		}
	}
}

// TestHeldByUse: a network that is held for an endpoint to come has no rows of one that
// has gone.
func TestHeldByUse(t *testing.T) {
	hosts := testCluster(t, 1)
	n := overlayNet(t, hosts[0].Member, "a").ID
	for _, h := range hosts {
		if err := h.Use(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	rows := func() int { return len(hosts[1].Neighbours(n).Endpoints) }
	hosts[0].SetShares(map[string]Share{n: {Endpoints: []Endpoint{rose()}}})
	eventually(t, "the endpoint is known", func() bool { return rows() == 1 })
	hosts[0].SetShares(map[string]Share{})
	eventually(t, "the endpoint is gone", func() bool { return rows() == 0 && len(hosts[1].Neighbours(n).Nodes) == 1 })
}
