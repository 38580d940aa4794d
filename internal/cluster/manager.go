package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// Theory of operation: a manager
//
// A manager holds a copy of the store, serves the control port and, while it leads,
// decides. What a member asks for is done by the leader: handlers (handlers.go) that
// find themselves elsewhere pass the request on, once, over the member's own links,
// with the name of who asked. Only managers may pass on, and only what a member may
// ask for in its own name.
//
// Close ends the servers first; a call that is still under way hears from the store
// that it is closed.

// A manager is what a member has besides if it is one.
type manager struct {
	m     *Member
	store *store.Store
	port  *controlPort
	raft  *raftStream
	rpc   *grpc.Server // of members
	join  *grpc.Server // of those who want to be one
	wg    sync.WaitGroup

	rotating atomic.Bool // keys of the gossip are being replaced
	rootEnds time.Time   // when a root that nobody needs any more goes; lead's, zero if there is none
}

// A caller is who asks.
type caller struct {
	Node string
	Role cnm.Role
}

// startManager opens the store, with this node as its only voter if first, and the
// control port. Calls and duties wait until serve.
func (m *Member) startManager(first bool) (*manager, error) {
	g := &manager{m: m}
	port, err := listenControl(m.cfg.over(), m.cfg.listenAddr(), m.serverTLS(), m.refused)
	if err != nil {
		return nil, err
	}
	g.port = port
	conf := m.cfg.store(m.id)
	g.raft = newRaftStream(m, port.lanes[protoRaft])
	conf.Bootstrap, conf.Stream = first, g.raft
	if g.store, err = store.Open(conf); err != nil {
		port.Close()
		return nil, err
	}
	if err := g.checkOwn(); err != nil {
		g.store.Close()
		port.Close()
		return nil, err
	}
	g.prepareCalls()
	return g, nil
}

// serve answers calls, and does a leader's duties: the member has its view and its gossip.
func (g *manager) serve() {
	g.wg.Go(g.lead)
	g.wg.Go(func() { g.rpc.Serve(g.port.lanes[protoRPC]) })
	g.wg.Go(func() { g.join.Serve(g.port.lanes[protoJoin]) })
}

// checkOwn refuses a store that another node or swarm has left here: of its managers
// this node knows none, and is none itself.
func (g *manager) checkOwn() error {
	v, has := g.m.View(), g.cluster().ID
	servers, err := g.store.Servers()
	if err != nil {
		return err
	}
	foreign := len(servers) > 0 && len(v.Nodes) > 0
	for _, s := range servers {
		foreign = foreign && s.ID != g.m.id && v.node(s.ID) == nil
	}
	if foreign || has != "" && has != v.Cluster {
		return fmt.Errorf("the store in %s is of another swarm than this node (%s): restore the one that belongs here from a backup; "+
			"or, if other managers are there, give it up by \"weft swarm leave --force\", then join again", g.m.cfg.raftDir(), v.Cluster)
	}
	return nil
}

func (g *manager) close() {
	g.rpc.Stop()
	g.join.Stop()
	g.store.Close()
	g.port.Close()
	g.wg.Wait()
}

// leads reports whether this node is the leader.
func (g *manager) leads() bool { return g.store.IsLeader() }

// leader returns the leader's id, "" if there is none.
func (g *manager) leader() string {
	id, _ := g.store.Leader()
	return id
}

// voterCheck is how often a manager looks who votes, of which nothing tells.
const voterCheck = time.Second

// feed gives the view of this manager's copy to send, whenever it changes and every
// repeat, until that fails or ctx ends.
func (g *manager) feed(ctx context.Context, repeat time.Duration, send func(*View) error) error {
	var sent viewState
	var at time.Time
	for {
		_, changed := g.store.Watch()
		if v := g.view(); v != nil && (v.state() != sent || time.Since(at) >= repeat) {
			if err := send(v); err != nil {
				return err
			}
			sent, at = v.state(), time.Now()
		}
		t := time.NewTimer(voterCheck)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// apply has the store agree on a command, with errors as a user should see them.
func (g *manager) apply(ctx context.Context, c store.Command) (store.Result, error) {
	r, err := g.store.Apply(ctx, c)
	return r, leaderless(err)
}

// leaderless is an error of the store as other managers should see it.
func leaderless(err error) error {
	if errors.Is(err, store.ErrNotLeader) {
		return errNoLeader
	}
	return err
}

// applySoon is apply for a store that has just been opened: the first leader has yet
// to be found.
func (g *manager) applySoon(ctx context.Context, c store.Command) error {
	for {
		_, changed := g.store.Watch()
		_, err := g.apply(ctx, c)
		if !errors.Is(err, errNoLeader) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leaderAddr returns where another manager leads.
func (g *manager) leaderAddr() (netip.AddrPort, bool) {
	id, addr := g.store.Leader()
	at, err := netip.ParseAddrPort(addr)
	return at, err == nil && id != g.m.id
}

// leadCheck is how often a leader looks at the clock.
const leadCheck = 10 * time.Second

// lead is the goroutine that does a leader's duties while this node leads.
func (g *manager) lead() {
	var done uint64 // the version that was seen to last
	said := ""      // what is wrong, as it was logged
	for {
		s, changed := g.store.Watch()
		wait := leadCheck
		switch {
		case !g.leads() || s.Cluster.ID == "":
			done, g.rootEnds = 0, time.Time{}
		case s.Version != done || g.untilDuty() == 0:
			if err := g.duties(); err == nil {
				done, wait, said = s.Version, min(leadCheck, g.untilDuty()), ""
			} else if !errors.Is(err, store.ErrNotLeader) && !errors.Is(err, errNoLeader) && g.m.ctx.Err() == nil {
				if err.Error() != said {
					said = err.Error()
					g.m.log.Warn("a leader's duty is not done, and is tried again", "error", err)
				}
				wait = time.Second
			}
		default:
			wait = min(leadCheck, g.untilDuty())
		}
		t := time.NewTimer(wait)
		select {
		case <-changed:
		case <-t.C:
		case <-g.m.ctx.Done():
		}
		t.Stop()
		if g.m.ctx.Err() != nil {
			return
		}
	}
}

// untilDuty is how long it is until a leader has something to do.
func (g *manager) untilDuty() time.Duration {
	d := g.rotationDue(g.m.cfg.now())
	if !g.rootEnds.IsZero() {
		d = min(d, time.Until(g.rootEnds))
	}
	return max(d, 0)
}

// duties gives the managers their votes, ends the replacing of a root, and rotates
// the keys when it is time.
func (g *manager) duties() error {
	ctx, cancel := context.WithTimeout(g.m.ctx, 10*time.Second)
	defer cancel()
	if err := g.store.Reconcile(ctx, func(id string) bool { return g.m.nodeState(id) == cnm.NodeReady }); err != nil {
		return err
	}
	if err := g.finishRoot(ctx); err != nil {
		return err
	}
	if g.rotationDue(g.m.cfg.now()) <= 0 && !g.rotating.Load() {
		return g.rotateKeys(ctx)
	}
	return nil
}

// credentials are what handshakes ask for.
func (m *Member) credentials() pki.Credentials {
	return pki.Credentials{Identity: m.identity.Load, Now: m.cfg.now}
}

// clientTLS is for asking managers.
func (m *Member) clientTLS() *tls.Config {
	return m.credentials().Client(pki.Peer{Roles: []pki.Role{pki.Manager}})
}

// serverTLS serves all protocols of the control port: what must be proven depends
// on the one that the client wants.
func (m *Member) serverTLS() *tls.Config {
	c := m.credentials()
	of := map[string]*tls.Config{protoRaft: c.Server(pki.Manager), protoRPC: c.Server(), protoJoin: c.JoinServer()}
	for proto, conf := range of {
		conf.NextProtos = []string{proto}
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(h.SupportedProtos) == 1 && of[h.SupportedProtos[0]] != nil {
			return of[h.SupportedProtos[0]], nil
		}
		return nil, fmt.Errorf("%w: it asks for %.200q", errProtocol, h.SupportedProtos)
	}}
}

// callerOf returns who is at the other end of a call.
func callerOf(ctx context.Context) (caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, errors.New("a call of nobody")
	}
	info, ok := p.AuthInfo.(peerInfo)
	if !ok {
		return caller{}, errors.New("a call without a certificate")
	}
	s, err := pki.PeerSubject(info.ConnectionState())
	if err != nil {
		return caller{}, err
	}
	return caller{Node: s.Node, Role: cnm.Role(s.Role)}, nil
}
