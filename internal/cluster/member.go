package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// Theory of operation: a member's life
//
// A node is made a member by Init or Join, which write its directory, and is one
// again by Open, from what is there:
//
//	member.json  its id, the cluster's, its role
//	identity.pem key, certificates and roots (pki)
//	view.json    the managers' word, as last heard
//	raft/        managers: the store
//
// A worker follows a manager (follow.go); a manager serves the control port
// (manager.go) and follows its own store. Both gossip. Close ends everything and
// waits for it; Leave makes the node a stranger again.
//
// Goroutines: the follower, the announcer (tables.go), the releaser (lease.go), the
// renewer, and those of the gossip, the control port and the store.

// Config is what a node says of itself and where it listens.
type Config struct {
	Dir         string     // the member's own
	Name        string     // that people see; of several nodes with one, an id tells which
	Bind        netip.Addr // to listen on; not valid: everywhere
	Advertise   netip.Addr // where others find this node
	ControlPort uint16
	GossipPort  uint16
	DataPath    []netip.AddrPort // its VTEP, one per family
	Far         bool             // nodes are at far sites: gossip's WAN profile
	Timings     gossip.Timings
	Log         *slog.Logger
	// Changed is called after the view, or what Neighbours returns, has changed. It
	// must not wait.
	Changed func()
	// Restart is called when the member is to be closed and opened again: its role
	// has changed. It must not wait.
	Restart func()
	// UnlockKey opens a manager that is locked.
	UnlockKey string
	// Now is the clock of certificates and records; nil: time.Now.
	Now func() time.Time

	underlay underlay // nil: the host's sockets
}

// now is the time by the node's clock.
func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// ErrLocked is the answer of Open where a manager is locked, and UnlockKey does not
// open it.
var ErrLocked = store.ErrLocked

// ErrNone is the answer of Open where there is no membership.
var ErrNone = errors.New("cluster: this node is in no swarm")

// A Member is a node's part in a cluster.
type Member struct {
	cfg      Config
	log      *slog.Logger
	id       string
	role     cnm.Role
	refused  *refusals // on the control port
	identity atomic.Pointer[pki.Identity]
	unsaved  atomic.Bool // the identity is not on disk yet
	view     atomic.Pointer[View]
	gossip   *gossip.Gossip
	manager  *manager // nil: a worker

	began      time.Time
	ctx        context.Context
	stop       context.CancelFunc
	wg         sync.WaitGroup
	toAnnounce chan struct{}
	toRelease  chan struct{}
	toRenew    chan struct{}
	joined     chan struct{} // closed when the others gossip with this node, or none is there
	settled    atomic.Bool   // the others' rows of this node's networks have been asked for
	closing    sync.Once
	restart    sync.Once

	mu           sync.Mutex
	uses         map[string]int  // by network
	attached     map[string]bool // networks that are gossiped about
	wanted       map[string]map[string][]byte
	tables       map[string]*Neighbours
	tableVersion uint64
	badOwners    map[string]bool
	release      releasing
	links        links

	verified verified
}

// memberFile is member.json.
type memberFile struct {
	ID, Cluster string
	Role        cnm.Role
}

func newMember(c Config, f memberFile, identity *pki.Identity, v *View) *Member {
	m := &Member{
		cfg: c, log: c.Log, refused: newRefusals(c.Log), id: f.ID, role: f.Role, began: time.Now(),
		toAnnounce: make(chan struct{}, 1), toRelease: make(chan struct{}, 1), toRenew: make(chan struct{}, 1), joined: make(chan struct{}),
		uses: make(map[string]int), attached: make(map[string]bool), tables: make(map[string]*Neighbours), badOwners: make(map[string]bool),
		links: links{over: c.over()},
	}
	m.view.Store(v)
	m.identity.Store(identity)
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// begin starts what both roles have. The view is there.
func (m *Member) begin() error {
	v := m.View()
	profile := gossip.LAN
	if m.cfg.Far {
		profile = gossip.WAN
	}
	g, err := gossip.Start(gossip.Config{
		Profile: profile, Timings: m.cfg.Timings,
		NodeID: m.id, Name: m.cfg.Name, Bind: m.cfg.bind(m.cfg.GossipPort), Advertise: netip.AddrPortFrom(m.cfg.Advertise, m.cfg.GossipPort),
		Transport: m.cfg.over().transport(netip.AddrPortFrom(m.cfg.Advertise, m.cfg.GossipPort)),
		Keys:      v.GossipKeys, Bootstrap: func() []netip.AddrPort { return m.View().gossipAddrs(m.id) },
		Log: m.log, Changed: m.forget, MembersChanged: func() { m.forget("") },
	})
	if err != nil {
		return err
	}
	m.gossip = g
	if m.manager != nil {
		m.manager.serve()
	}
	for _, loop := range []func(){m.meet, m.announcer, m.releaser, m.renewer, m.follower} {
		m.wg.Go(loop)
	}
	return nil
}

// meetTime is how long a node that starts looks for others before it goes on alone;
// the gossip finds them later by itself.
const meetTime = 2 * time.Second

// meet joins the others' gossip: what they say of a network can be asked for only
// then.
func (m *Member) meet() {
	defer close(m.joined)
	for end := time.Now().Add(meetTime); time.Now().Before(end); {
		addrs := m.View().gossipAddrs(m.id)
		if len(addrs) == 0 {
			return
		}
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] }) // the same few may all be gone
		if _, err := m.gossip.Join(addrs[:min(len(addrs), meetMost)]); err == nil || !m.pause(meetTime/20) {
			return
		}
	}
}

// meetMost is how many others are asked to let this node in.
const meetMost = 5

// bind returns where to listen.
func (c *Config) bind(port uint16) netip.AddrPort {
	a := c.Bind
	if !a.IsValid() {
		a = netip.IPv4Unspecified()
		if c.Advertise.Is6() {
			a = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(a, port)
}

// ID returns the node's id, 25 characters of base 36.
func (m *Member) ID() string { return m.id }

// Manager reports whether the node keeps the swarm's state.
func (m *Member) Manager() bool { return m.manager != nil }

// View returns what the node knows by the managers' word. It is not to be changed.
func (m *Member) View() *View { return m.view.Load() }

// setView takes a newer view into use and keeps it on disk.
func (m *Member) setView(v *View) {
	m.view.Store(v)
	if m.gossip != nil {
		if err := m.gossip.SetKeys(v.GossipKeys); err != nil {
			m.log.Error("the gossip's keys", "error", err)
		}
	}
	if err := saveView(m.cfg.Dir, v); err != nil {
		m.log.Error("keep what the managers said", "error", err)
	}
	if m.manager != nil {
		m.manager.raft.prune()
	}
	wake(m.toRenew)
	m.forget("")
}

// self is what the node says of itself.
func (m *Member) self() Node { return selfNode(m.id, m.role, m.cfg) }

func selfNode(id string, role cnm.Role, c Config) Node {
	n := Node{
		ID: id, Hostname: c.Name, Gossip: netip.AddrPortFrom(c.Advertise, c.GossipPort), DataPath: c.DataPath,
		Spec: cnm.NodeSpec{Role: role, Availability: cnm.Active},
	}
	if role == cnm.Manager {
		n.Control = netip.AddrPortFrom(c.Advertise, c.ControlPort)
	}
	return n
}

// Close ends the member's part. It stays a member: Open takes it up again.
func (m *Member) Close() {
	m.closing.Do(func() {
		m.stop()
		if m.manager != nil {
			m.manager.close()
		}
		if m.gossip != nil {
			m.gossip.Close()
		}
		m.links.close()
		m.wg.Wait()
	})
}

// raftDir is where a manager's store is.
func (c *Config) raftDir() string    { return filepath.Join(c.Dir, "raft") }
func (c *Config) memberPath() string { return filepath.Join(c.Dir, "member.json") }

// store is how the manager of an id keeps its store.
func (c *Config) store(id string) store.Config {
	return store.Config{Dir: c.raftDir(), NodeID: id, Addr: netip.AddrPortFrom(c.Advertise, c.ControlPort).String(), UnlockKey: c.UnlockKey, Log: c.Log}
}

// listenAddr is the control port's address.
func (c *Config) listenAddr() string {
	host := ""
	if c.Bind.IsValid() {
		host = c.Bind.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(c.ControlPort)))
}

// lastErr says what was tried in vain.
func lastErr(what string, errs []error) error {
	if len(errs) == 0 {
		return fmt.Errorf("%s: no manager is known", what)
	}
	return fmt.Errorf("%s: %w", what, errors.Join(errs...))
}

// retryTime is how long a loop waits before it tries again.
func retryTime(failures int) time.Duration {
	return min(200*time.Millisecond<<min(failures, 6), 5*time.Second)
}
