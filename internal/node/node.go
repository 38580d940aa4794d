package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/cluster"
	"weft/internal/cnm"
	"weft/internal/ipam"
	"weft/ipsec"
)

// Theory of operation: the node and its locks
//
// Seven locks, always taken in this order:
//
//	Node.swarmOp making, joining and leaving a swarm
//	box.op      one per sandbox: everything slow that changes it (launch, connect, exit)
//	box.use     one per sandbox: its agent's handle is not closed while lent
//	Node.netOp  creating and removing networks, one at a time
//	Node.portOp opening and closing published ports
//	path.mu     publishing a plan, moving ports
//	Node.mu     the desired state; held for map work only, never over I/O
//
// A start holds one of Node.launching's places besides, taken under box.op.
//
// A change goes: take the op lock, check and change the desired state under mu,
// do the slow work, publish, write the journal. Stopping a sandbox only signals;
// what an exit means (endpoints released, devices closed, state Exited) is done
// in one place, by the goroutine that waits for the agent, under box.op.
//
// Goroutines: the workers, the keeper (ticks the switch, looks after ports whose
// device is gone and foreign namespaces that vanished), one watcher per running
// sandbox, one per exec and its outputs, one per open stream of events or capture,
// and short ones that look after a lost port. All hang on own.

// A Node is one daemon's core.
type Node struct {
	cfg     Config
	log     *slog.Logger
	id      string
	started time.Time
	journal *journal
	own     *owner
	ctx     context.Context // ends with the node
	cancel  context.CancelFunc
	events  *eventLog
	path    *dataPath
	dead    chan struct{} // wakes the keeper: a port's device is gone
	// launching holds a token for every start under way.
	launching chan struct{}

	swarmOp   sync.Mutex
	swarmNews chan struct{} // wakes the follower: the swarm has changed
	keyNews   chan struct{} // wakes the keeper of keys
	marked    chan marked   // announcements that came by the underlay
	noKeys    *ipsec.Peer   // of a peer that has announced none
	aes       ipsec.AES     // how AES-GCM is computed, and why not the wide way
	aesWhy    error
	netOp     sync.Mutex
	mu        sync.Mutex
	// Guarded by mu:
	member   *cluster.Member // nil: in no swarm
	trouble  error           // why the membership cannot be taken up
	fillings map[string]filling
	ipam     *ipam.Allocator
	networks map[string]*network
	boxes    map[string]*box
	execs    map[string]*execution
	lastExec uint64
	rings    map[ringKey]*ring // of encrypted networks in use
	// keyFaults is what is wrong with keys, as logged.
	nextKeepalive time.Time // when peers are sent keepalives next
	keyFaults     map[string]string
	retryKeys     time.Time // when keys that could not be had are tried again; zero: none
	// following is set while interfaces are given a new MTU.
	following atomic.Bool
	// inside are the subnets that no uplink carries anything to.
	inside atomic.Pointer[[]netip.Prefix]
	// reached are the addresses of endpoints that may begin no flow by an uplink.
	reached atomic.Pointer[[]netip.Addr]
	// portOp is held while published ports are opened and closed, and guards the
	// listeners, what is wrong with those that are missing, and the next port to be
	// given out.
	portOp     sync.Mutex
	listeners  map[portOf]*listener
	portFaults map[portOf]error
	portSaid   map[portOf]string // the faults that were logged
	nextPort   uint16
	// maxListeners bounds the listeners; 0 does not. It does not change.
	maxListeners int
	names        *names
	// pathMTU is the underlay's MTU towards every address peers have.
	pathMTU map[netip.Addr]int
}

// A network is a network of the desired state. Guarded by Node.mu.
type network struct {
	cnm.Network
	options cnm.BridgeOptions  // of an overlay: the defaults, with its interfaces' MTU
	overlay cnm.OverlayOptions // of an overlay
	pools   []*ipam.Pool       // in the order of IPAM.Config
	going   bool               // being removed: nobody may join
}

// Open starts a node on the state in c.DataDir: workers run, networks are back,
// sandboxes that live are connected again.
func Open(ctx context.Context, c Config) (*Node, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	j, contents, err := openJournal(c.DataDir)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: c, log: c.Log, id: contents.meta.NodeID, started: time.Now(), journal: j, own: newOwner(),
		events: newEventLog(c.MaxEvents), dead: make(chan struct{}, 1), swarmNews: make(chan struct{}, 1),
		keyNews: make(chan struct{}, 1), marked: make(chan marked, maxMarked), noKeys: ipsec.NewPeer(0, 0),
		listeners: make(map[portOf]*listener), portFaults: make(map[portOf]error), maxListeners: maxListeners(),
		names: newNames(), rings: make(map[ringKey]*ring), keyFaults: make(map[string]string),
		launching: make(chan struct{}, launchesPerCPU*runtime.NumCPU()),
		fillings:  make(map[string]filling),
		networks:  make(map[string]*network), boxes: make(map[string]*box), execs: make(map[string]*execution),
	}
	n.chooseAES()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.begin(ctx, contents); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// begin does what Open cannot do without a node to close on failure.
func (n *Node) begin(ctx context.Context, contents *journalContents) error {
	if err := os.MkdirAll(n.cfg.RunDir, 0o700); err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	var err error
	if n.ipam, err = n.newAllocator(); err != nil {
		return err
	}
	// A worker that is busy holds one processor of the scheduler's for as long as
	// frames come: one more keeps the API answering.
	if p := n.cfg.Workers + 1; runtime.GOMAXPROCS(0) < p {
		runtime.GOMAXPROCS(p)
	}
	under := n.cfg.underlay()
	under.marked = n.takeMarked
	if err := under.mayCarryInIP(); err != nil {
		return err
	}
	n.path, err = newDataPath(n.cfg.Workers, under, n.own, n.portDied, n.workerBroke)
	if err != nil {
		return err
	}
	n.path.openExit, n.path.inside, n.path.reached = n.openExit, n.insideNow, n.reachedNow
	if n.cfg.Uplink.Kind == UplinkPacket {
		if err := n.path.usePacket(n.cfg.Uplink); err != nil {
			return err
		}
	}
	for _, err := range n.path.underlay.cfg.probe() {
		n.log.Warn("overlay networks cannot be carried", "error", err)
	}
	n.names.takeStatics(contents.statics)
	if err := n.restoreNetworks(contents.networks); err != nil {
		return err
	}
	n.openSwarm(ctx)
	if err := n.restoreSandboxes(ctx, contents.sandboxes); err != nil {
		return err
	}
	if err := n.predefine(); err != nil {
		return err
	}
	n.reconcileLeases()
	n.own.spawn(n.keep)
	n.own.spawn(n.follow)
	n.own.spawn(n.keepKeys)
	return nil
}

// complete fills in defaults.
func (c *Config) complete() error {
	if c.DataDir == "" || c.RunDir == "" {
		return errors.New("node: a data directory and a runtime directory are needed")
	}
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return err
	}
	if c.RunDir, err = filepath.Abs(c.RunDir); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Workers <= 0 {
		c.Workers = max(2, runtime.NumCPU())
	}
	if c.DataPathPort == 0 {
		c.DataPathPort = DefaultDataPathPort
	}
	c.ResolvConf = cmp.Or(c.ResolvConf, hostResolv)
	c.ControlPort, c.GossipPort = cmp.Or(c.ControlPort, DefaultControlPort), cmp.Or(c.GossipPort, DefaultGossipPort)
	c.ESPPort = cmp.Or(c.ESPPort, ipsec.Port)
	c.ESPKeepalive = cmp.Or(c.ESPKeepalive, DefaultESPKeepalive)
	if err := c.checkUplink(); err != nil {
		return err
	}
	return c.checkDataPath()
}

// checkDataPath refuses addresses that overlays cannot be carried over.
func (c *Config) checkDataPath() error {
	for i, a := range c.DataPathAddrs {
		if !a.IsValid() || a.IsMulticast() || a.Is4In6() {
			return fmt.Errorf("node: data path address %s: expected an address of this machine", a)
		}
		for _, b := range c.DataPathAddrs[:i] {
			if a.Is4() == b.Is4() {
				return fmt.Errorf("node: data path addresses %s and %s are of one family: expected at most one of each", b, a)
			}
		}
	}
	return nil
}

// Close ends the data path and disconnects from every sandbox. Sandboxes and
// networks live on; the next Open finds them.
func (n *Node) Close() error {
	n.own.shut()
	n.cancel()
	n.events.close()
	if n.path != nil {
		n.path.close()
	}
	n.closeStreams()
	if m, err := n.swarmMember(); err == nil {
		m.Close()
	}
	n.own.wait()
	n.disconnect()
	os.Remove(n.boxRoot()) // if nobody lives there
	return n.journal.close()
}

// now is the time stamped on objects and events.
func (n *Node) now() time.Time { return time.Now() }

// keep is the keeper's goroutine.
func (n *Node) keep() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	n.path.tick(n.now())
	var logs logRound
	for {
		select {
		case now := <-t.C:
			n.path.tick(now)
			n.mend()
			n.keepPorts()
			n.lookAtPaths()
			n.checkForeign()
			logs.next(n, now)
			n.buryPorts() // those that were busy
		case <-n.dead:
			n.buryPorts()
		case <-n.own.stop:
			return
		}
	}
}

// workerBroke is called by a worker that cannot go on: its ports are served no
// more until the daemon is started again, which costs no sandbox anything.
func (n *Node) workerBroke(id int, err error) {
	n.log.Error("a worker of the data path ended: restart the daemon", "worker", id, "error", err)
	n.events.publish(cnm.Event{Time: n.now(), Type: "daemon", Action: "worker-ended", Attributes: map[string]string{"worker": itoa(id), "error": err.Error()}})
}

// portDied is called by a worker, which has flagged the port. The keeper does the
// rest.
func (n *Node) portDied() {
	select {
	case n.dead <- struct{}{}:
	default: // it has yet to look
	}
}
