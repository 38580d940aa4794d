package gossip

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// State is what is known of a member.
type State uint8

// The states of a member.
const (
	Alive State = iota // suspected ones too
	Left               // it said that it goes
	Dead               // it does not answer
)

func (s State) String() string { return [...]string{"alive", "left", "dead"}[s] }

// A Member is a node of the cluster as this one sees it.
type Member struct {
	ID    string
	Name  string
	Addr  netip.AddrPort // of its gossip
	Meta  []byte         // not to be written to
	State State
}

type member struct {
	Member
	node memberlist.Node // memberlist sends to it
	gone time.Time       // since when it is not alive
}

// leaving is the key of the row in the cluster's table by which a node says that
// it goes; no network has this id.
const leaving = "\x00leaving"

// Members returns the members, this node among them, and those that left or died
// and are not forgotten yet, by id.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	ms := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		ms = append(ms, m.Member)
	}
	slices.SortFunc(ms, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return ms
}

// Join makes this node and those at addrs members of one cluster. It returns how
// many answered, and an error when none did.
func (g *Gossip) Join(addrs []netip.AddrPort) (int, error) {
	if g.stop.Err() != nil {
		return 0, fmt.Errorf("gossip: join: %w", net.ErrClosed)
	}
	names := make([]string, len(addrs))
	for i, a := range addrs {
		names[i] = a.String()
	}
	n, err := g.list.Join(names)
	if err != nil {
		return n, fmt.Errorf("gossip: join: %w", err)
	}
	return n, nil
}

// rejoins is how many nodes are joined at a time. Whoever answers tells of all
// others, so more are not needed; and of many that do not answer, a few at random
// keep none waiting that does.
const rejoins = 5

// rejoiner joins, at each period, a few of the bootstrap addresses that are no alive
// members, and of the dead: a split heals though each side has forgotten the other.
func (g *Gossip) rejoiner() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-g.stop.Done():
			return
		case <-t.C:
		}
		g.rejoin()
		t.Reset(g.cfg.Timings.Rejoin + jitter(g.cfg.Timings.Rejoin/10))
	}
}

func (g *Gossip) rejoin() {
	addrs := g.missing()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	var all sync.WaitGroup
	defer all.Wait()
	for _, a := range addrs[:min(rejoins, len(addrs))] {
		all.Go(func() {
			if _, err := g.Join([]netip.AddrPort{a}); err != nil && g.stop.Err() == nil {
				g.cfg.Log.Debug("gossip: a node that ought to be a member does not answer", "address", a, "error", err)
			}
		})
	}
}

// missing returns the addresses that ought to be alive members: those of the
// bootstrap, and one of the dead at random. Address and port are compared, for
// several nodes may share an address.
func (g *Gossip) missing() []netip.AddrPort {
	var want []netip.AddrPort
	if g.cfg.Bootstrap != nil {
		want = slices.Clone(g.cfg.Bootstrap())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	known := map[netip.AddrPort]bool{g.addr: true}
	var dead []netip.AddrPort
	for _, m := range g.members {
		switch m.State {
		case Alive:
			known[m.Addr] = true
		case Dead:
			dead = append(dead, m.Addr)
		}
	}
	if len(dead) > 0 {
		want = append(want, dead[rand.IntN(len(dead))])
	}
	var out []netip.AddrPort
	for _, a := range want {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if !known[a] {
			known[a] = true
			out = append(out, a)
		}
	}
	return out
}

// joined is told of a node that is alive, or whose meta changed.
func (g *Gossip) joined(n *memberlist.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[n.Name]
	returned := m != nil && m.State != Alive
	if m == nil {
		m = &member{}
		g.members[n.Name] = m
	}
	name, meta, err := splitMeta(n.Meta)
	if err != nil {
		g.stats.Malformed++
	}
	m.Member = Member{ID: n.Name, Name: name, Addr: address(n), Meta: meta, State: Alive}
	m.node, m.gone = *n, time.Time{}
	delete(g.absent, n.Name)
	if returned {
		g.compareSoonLocked(n.Name)
	}
	g.touchOwnerLocked(n.Name)
}

// left is told of a node that died or left.
func (g *Gossip) left(n *memberlist.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[n.Name]
	if m == nil {
		return
	}
	m.gone, m.State = time.Now(), Dead
	if g.leavingLocked(n.Name) {
		m.State = Left
	}
	if n.Name != g.cfg.NodeID {
		g.absent[n.Name] = m.gone
	}
	g.touchOwnerLocked(n.Name)
}

func (g *Gossip) leavingLocked(id string) bool {
	e, ok := g.cluster.table.get(id, leaving)
	return ok && !e.deleted
}

// visible reports whether an owner's rows count: it is this node, or an alive
// member that does not leave. With mu held.
func (g *Gossip) visible(owner string) bool {
	if owner == g.cfg.NodeID {
		return true
	}
	m := g.members[owner]
	return m != nil && m.State == Alive && !g.leavingLocked(owner)
}

// peersLocked returns the other nodes that are alive and have a network; all for
// the cluster's table. Sorted.
func (g *Gossip) peersLocked(network string) []string {
	var ids []string
	for id, m := range g.members {
		if id == g.cfg.NodeID || m.State != Alive {
			continue
		}
		if network != "" {
			if e, ok := g.cluster.table.get(id, network); !ok || e.deleted || g.leavingLocked(id) {
				continue
			}
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// address returns where a node is reached.
func address(n *memberlist.Node) netip.AddrPort {
	a, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}

// joinMeta puts name and meta into what memberlist carries: the name's length in a
// byte, the name, the meta.
func joinMeta(name string, meta []byte) []byte {
	b := append([]byte{byte(len(name))}, name...)
	return append(b, meta...)
}

func splitMeta(b []byte) (name string, meta []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, errors.New("meta ends early")
	}
	n := 1 + int(b[0])
	return string(b[1:n]), slices.Clone(b[n:]), nil
}

// jitter returns a random duration below d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
