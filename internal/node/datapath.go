package node

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/internal/frame"
	"weft/tap"
	"weft/vswitch"
	"weft/vxlan"
)

// Theory of operation: the data path's owner
//
// A dataPath holds the switch, its workers and the plan that was published last.
// publish makes the switch equal to a new plan by applying the difference, one
// step at a time, and records each step that held, so that after a failure the
// next publish continues from what really is. mu serialises changes; frames never
// wait for it.

// A livePort is a port of the switch with its device; a tunnel to a remote VTEP
// has none.
type livePort struct {
	key     portKey
	network string // id
	plan    portPlan
	device  *tap.Device // nil: a tunnel, or an exit
	exit    exit        // nil: a tunnel, or a sandbox's port
	port    *vswitch.Port
	charges []*charge // by queue; none: a tunnel, whose frames come in by the underlay's socket
}

type dataPath struct {
	mu       sync.Mutex
	sw       *vswitch.Switch
	current  plan
	domains  map[string]*vswitch.Domain
	ports    map[portKey]*livePort
	workers  []*worker
	asker    *vswitch.Worker // what the switch says by itself goes out by it, under mu
	serial   uint32
	closed   bool
	underlay underlay // the sockets of overlay networks
	pathMTU  func(*vxlan.Socket, netip.Addr) (int, error)
	openExit func(exitConfig) (exit, error)
	// With a packet uplink: the subnets that it leads out, by network, and all of weft's.
	packet *packetUplink // nil: there is none
	out    map[string][]netip.Prefix
	inside func() []netip.Prefix
	// reached are the addresses of endpoints that may begin no flow.
	reached func() []netip.Addr
	faults  map[faultKey]error
	// sessions are the captures under way: a new port joins those that want it.
	sessions map[*captureSession]struct{}
}

// newDataPath makes the switch and starts its workers; failed is called from a
// worker, once per port, when the port's device is gone, and broke when a worker
// cannot go on.
func newDataPath(workers int, u underlayConfig, own *owner, failed func(), broke func(int, error)) (*dataPath, error) {
	u.workers = workers + 1 // and the asker
	d := &dataPath{
		underlay: underlay{cfg: u},
		pathMTU:  (*vxlan.Socket).PathMTU,

		sw:      vswitch.New(vswitch.Config{Workers: workers + 1, Seed: rand.Uint64()}),
		current: plan{},
		domains: make(map[string]*vswitch.Domain),
		ports:   make(map[portKey]*livePort),

		sessions: make(map[*captureSession]struct{}),
	}
	for i := range workers {
		core, err := d.sw.NewWorker()
		if err != nil {
			d.close()
			return nil, err
		}
		w, err := newWorker(i, core, failed)
		if err != nil {
			d.close()
			return nil, err
		}
		d.workers = append(d.workers, w)
		own.spawn(func() {
			if err := w.run(); err != nil {
				broke(w.id, err)
			}
		})
	}
	d.underlay.look(net.InterfaceAddrs)
	var err error
	if d.asker, err = d.sw.NewWorker(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// tunnel reports whether the port leads to a remote VTEP.
func (lp *livePort) tunnel() bool { return lp.plan.peer.IsValid() }

// close stops the workers and waits for them. Devices are the caller's to close,
// afterwards.
func (d *dataPath) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	for _, w := range d.workers {
		w.halt()
	}
	for _, w := range d.workers {
		<-w.ended
		w.poller.Close()
	}
	for _, lp := range d.ports {
		if lp.exit != nil {
			lp.exit.Close()
		}
	}
	if d.packet != nil && d.packet.queue != nil {
		d.packet.queue.Close()
	}
	d.underlay.close()
}

var errPathClosed = errors.New("the switch is closing")

// publish makes the switch equal to next. device finds the device of a port to
// be added. Every step is tried; what failed is returned, and tried again by the
// next publish. The error is errPathClosed, or nil.
func (d *dataPath) publish(next func() plan, device func(portKey) *tap.Device) ([]fault, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errPathClosed
	}
	// The plan is made under mu: the one published last is the newest.
	failed, want := make(map[faultKey]error), next()
	for _, s := range difference(d.current, want) {
		if err := d.apply(s, device); err != nil {
			key := faultKey{s.network, s.key}
			if s.op == setNeighbour {
				key.port = want[s.network].owner(s.mac)
			}
			if failed[key] == nil { // of several the first is the cause
				failed[key] = err
			}
		}
	}
	d.leads(want)
	if err := d.routePacket(); err != nil {
		failed[packetFault] = err
	}
	d.closeUnused()
	before := d.faults
	maps.DeleteFunc(before, func(key faultKey, _ error) bool { return d.domains[key.network] == nil && key != packetFault }) // nobody wants it any more
	d.faults = failed
	return compareFaults(before, failed), nil
}

func (d *dataPath) apply(s step, device func(portKey) *tap.Device) error {
	switch s.op {
	case removeNeighbour:
		d.domains[s.network].Neighbours().Remove(s.addr)
		delete(d.current[s.network].neighbours, s.addr)
		d.flush(s.network, s.addr)
	case removeRemote:
		d.domains[s.network].Forget(0, s.mac)
		delete(d.current[s.network].remotes, s.mac)
	case removePort:
		d.removePort(s.network, s.key)
	case removeDomain:
		delete(d.domains, s.network)
		delete(d.current, s.network)
	case addDomain:
		return d.addDomain(s)
	case addPort:
		switch {
		case s.port.peer.IsValid():
			return d.addTunnel(s)
		case s.port.exit:
			return d.addExit(s)
		}
		return d.addPort(s, device(s.key))
	case setMTU:
		d.setMTU(s)
	case setRemote:
		return d.setRemote(s)
	case setNeighbour:
		return d.setNeighbour(s.network, s.addr, s.mac)
	}
	return nil
}

func (d *dataPath) addDomain(s step) error {
	dom, err := d.sw.AddDomain(vswitch.DomainConfig{
		Name: s.domain.name, Gateways: s.domain.gateways, GatewayMAC: s.domain.gatewayMAC,
		QuietTunnels: s.domain.quiet, Snooping: s.domain.vni != 0 && !s.domain.quiet,
		DropUnknownMAC: s.domain.filled, DropUnknownNeighbour: s.domain.filled,
	})
	if err != nil {
		return fmt.Errorf("network %s: %w", s.domain.name, err)
	}
	d.domains[s.network] = dom
	made := s.domain
	made.ports, made.neighbours = make(map[portKey]portPlan), make(map[netip.Addr]frame.MAC)
	made.remotes = make(map[frame.MAC]portKey)
	d.current[s.network] = made
	return nil
}

func (d *dataPath) setNeighbour(network string, a netip.Addr, m frame.MAC) error {
	dom := d.domains[network]
	if dom == nil {
		return nil // adding the domain failed and said so
	}
	if err := dom.Neighbours().SetStatic(a, m); err != nil {
		return fmt.Errorf("network %s: neighbour %s: %w", dom.Name(), a, err)
	}
	if was, ok := d.current[network].neighbours[a]; ok && was != m {
		d.flush(network, a)
	}
	d.current[network].neighbours[a] = m
	return nil
}

// setRemote binds an address to the tunnel that leads to its node.
func (d *dataPath) setRemote(s step) error {
	dom, lp := d.domains[s.network], d.ports[s.key]
	if dom == nil || lp == nil {
		return nil // adding it failed and said so
	}
	if !dom.SetStatic(0, s.mac, lp.port) {
		return fmt.Errorf("network %s: the forwarding table is full: no room for %s on another node", dom.Name(), s.mac)
	}
	d.current[s.network].remotes[s.mac] = s.key
	return nil
}

func (d *dataPath) addPort(s step, dev *tap.Device) error {
	dom := d.domains[s.network]
	if dom == nil {
		return nil
	}
	if dev == nil {
		return fmt.Errorf("port %s: its device is gone", s.port.name)
	}
	cfg := vswitch.PortConfig{Name: s.port.name, Domain: dom, Addrs: s.port.addrs, MTU: s.port.mtu, Isolated: d.current[s.network].isolated}
	cfg.AllowRA, cfg.AllowDHCP, cfg.MaxMACs = s.port.allowRA, s.port.allowDHCP, s.port.maxMACs
	if s.port.guard {
		cfg.MAC = s.port.mac
	}
	var queues []vswitch.Queue
	for _, q := range dev.Queues() {
		queues = append(queues, q)
	}
	p, err := d.sw.AddPort(cfg, queues...)
	if err != nil {
		return fmt.Errorf("port %s: %w", s.port.name, err)
	}
	if !s.port.guard && !dom.SetStatic(0, s.port.mac, p) {
		d.sw.RemovePort(p)
		return fmt.Errorf("port %s: the forwarding table of network %s is full", s.port.name, dom.Name())
	}
	lp := &livePort{key: s.key, network: s.network, plan: s.port, device: dev, port: p}
	for i, q := range dev.Queues() {
		c := d.newCharge(q.FD(), func(w *vswitch.Worker) (int, error) { return w.TurnQueue(p, i) }, func() uint64 {
			s := p.Stats()
			return (s.InBytes + s.InFrames*frameCost) / uint64(len(queues))
		})
		c.queue, c.of = i, len(queues)
		lp.charges = append(lp.charges, c)
	}
	d.enter(lp)
	if err := d.serve(lp); err != nil {
		d.sw.RemovePort(p)
		delete(d.ports, s.key)
		delete(d.current[s.network].ports, s.key)
		return fmt.Errorf("port %s: %w", s.port.name, err)
	}
	return nil
}

// newCharge describes a descriptor that is to be served.
func (d *dataPath) newCharge(fd int, turn func(*vswitch.Worker) (int, error), spent func() uint64) *charge {
	d.serial++
	return &charge{fd: fd, turn: turn, spent: spent, of: 1, serial: d.serial & 0xffffff}
}

// charges lists everything the workers serve.
func (d *dataPath) charges() (all []*charge) {
	for _, lp := range d.ports {
		all = append(all, lp.charges...)
	}
	return d.underlay.charges(all)
}

// enter notes a port that works; captures under way look at it from now on.
func (d *dataPath) enter(lp *livePort) {
	for session := range d.sessions {
		session.join(lp)
	}
	d.ports[lp.key] = lp
	d.current[lp.network].ports[lp.key] = lp.plan
}

func (d *dataPath) removePort(network string, key portKey) {
	if lp := d.ports[key]; lp != nil {
		for _, c := range lp.charges {
			c.worker.drop(c)
		}
		if lp.tunnel() {
			d.underlay.unroute(lp)
		}
		d.sw.RemovePort(lp.port)
		if lp.exit != nil {
			lp.exit.Close()
		}
		delete(d.ports, key)
	}
	delete(d.current[network].ports, key)
	maps.DeleteFunc(d.current[network].remotes, func(_ frame.MAC, at portKey) bool { return at == key })
}

// dead reports whether the port's device is gone. A tunnel has none to lose.
func (lp *livePort) dead() bool { return slices.ContainsFunc(lp.charges, (*charge).dead) }

// portDead reports whether the port there is now has lost its device.
func (d *dataPath) portDead(key portKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	lp := d.ports[key]
	return lp != nil && lp.dead()
}

// deadPorts lists the ports that have lost their devices.
func (d *dataPath) deadPorts() (dead []portKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, lp := range d.ports {
		if lp.dead() {
			dead = append(dead, key)
		}
	}
	return dead
}

// started is where the coarse clock begins.
var started = time.Now()

// coarse is the switch's clock, in seconds. It goes on by what has passed, whatever the
// machine's clock is set to meanwhile: flows and addresses age by it.
func coarse(now time.Time) uint32 {
	return uint32(started.Unix()) + uint32(now.Sub(started)/time.Second)
}

// tick is called once a second: it moves the switch's coarse clock, reads the host's
// addresses, sends the queries that are due, looks after sockets and balances.
func (d *dataPath) tick(now time.Time) {
	seconds := coarse(now)
	d.sw.Tick(seconds)
	d.underlay.look(net.InterfaceAddrs)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.underlay.watch(now)
	for _, dom := range d.domains {
		for _, query := range d.sw.Queries(dom, seconds) {
			d.asker.Originate(dom, query)
		}
	}
	d.reopenExits()
	d.tickPacket(seconds)
	d.attend()
	d.balance()
}
