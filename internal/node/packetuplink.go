package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"

	"weft/internal/frame"
	"weft/internal/uplink"
	"weft/nat"
	"weft/tap"
	"weft/vswitch"
)

// Theory of operation: the packet uplink
//
// With --uplink packet:INTERFACE the switch has a router (vswitch/router.go) instead of an
// exit on each network: one domain outside, whose port is a packet socket on the interface,
// or the TAP of that name if nobody else has it open. Packets are translated by one table
// (package nat) for all networks.
//
// It is opened when the daemon starts, which fails where the kernel would meddle. If the
// interface goes away later, that is a fault: the port is taken off the switch, and once a
// second it is tried to open it again; connections live on in the table. What changes:
//
//	publish   what is inside, which networks lead out: router and rules
//	tick      the interface's MTU, the kernel's routes by it; next hops; flows that end
//
// All of it is guarded by dataPath.mu. The order of removal is
//
//	the worker drops the charge, router.Close, sw.RemovePort, queue.Close

// A packetUplink is described above.
type packetUplink struct {
	path  *dataPath
	cfg   Uplink
	mac   frame.MAC
	table *nat.Table
	rules nat.Rules // as last set
	ports []nat.Published
	// While it is open; queue nil: it is not.
	queue  packetQueue
	packet *uplink.Packet // nil: it is a TAP
	domain *vswitch.Domain
	port   *vswitch.Port
	router *vswitch.Router
	live   *livePort       // its entry among the ports
	inside []vswitch.Inner // as last published
	routes []vswitch.Route
}

// A packetQueue is what the port outside reads and writes.
type packetQueue interface {
	vswitch.Queue
	FD() int
	Close() error
}

// usePacket opens the packet uplink.
func (d *dataPath) usePacket(c Uplink) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.packet = &packetUplink{path: d, cfg: c, table: nat.New(nat.Config{Seed: rand.Uint64()})}
	return d.openPacket()
}

// packetConfig says how the uplink's socket is opened.
func (u *Uplink) packetConfig() uplink.PacketConfig {
	c := uplink.PacketConfig{Interface: u.Interface}
	for _, a := range u.Addrs {
		c.Addrs = append(c.Addrs, a.Addr())
	}
	if !u.InterfaceMAC {
		c.MAC = deriveMAC(c.Addrs[0])
	}
	return c
}

// openPacket opens the queue and makes the domain, the port and the router. The caller holds
// d.mu.
func (d *dataPath) openPacket() error {
	p := d.packet
	c := p.cfg.packetConfig()
	if err := uplink.CheckPacket(c); err != nil {
		return err
	}
	mtu, err := p.openQueue(c)
	if err == nil {
		err = d.joinPacket(mtu)
	}
	if err != nil {
		d.closePacket()
	}
	return err
}

// openQueue opens the device and returns its MTU.
func (p *packetUplink) openQueue(c uplink.PacketConfig) (mtu int, err error) {
	if uplink.IsTAP(c.Interface) {
		dev, err := tap.Open(tap.Options{Name: c.Interface})
		if err == nil {
			p.queue, p.packet, p.mac = tapUplink{dev.Queues()[0], dev}, nil, c.MAC
			if p.mac == (frame.MAC{}) {
				p.mac = deriveMAC(c.Addrs[0]) // the interface's own is the kernel's, at the other end
			}
			return uplink.InterfaceMTU(c.Interface)
		}
		if !errors.Is(err, syscall.EBUSY) { // else somebody has it: it is a link like others
			return 0, fmt.Errorf("uplink packet:%s: %w", c.Interface, err)
		}
	}
	q, err := uplink.OpenPacket(c)
	if err != nil {
		return 0, err
	}
	p.queue, p.packet, p.mac = q, q, q.MAC()
	return q.MTU(), nil
}

// A tapUplink is a TAP's queue that owns its device.
type tapUplink struct {
	*tap.Queue
	device *tap.Device
}

func (t tapUplink) Close() error { return t.device.Close() }

// joinPacket puts the queue on the switch.
func (d *dataPath) joinPacket(mtu int) (err error) {
	p := d.packet
	p.domain, err = d.sw.AddDomain(vswitch.DomainConfig{Name: p.cfg.String(), Outside: true, GatewayMAC: p.mac, Gateways: p.cfg.packetConfig().Addrs})
	if err != nil {
		return err
	}
	if p.port, err = d.sw.AddPort(vswitch.PortConfig{Name: packetKey.sandbox + "@" + packetKey.ifName, Domain: p.domain, MTU: mtu}, p.queue); err != nil {
		return err
	}
	if p.router, err = d.sw.NewRouter(vswitch.RouterConfig{Outside: p.domain, Port: p.port, Translator: p.table}); err != nil {
		return err
	}
	port := p.port
	lp := &livePort{key: packetKey, port: port}
	lp.charges = []*charge{d.newCharge(p.queue.FD(), func(w *vswitch.Worker) (int, error) { return w.Turn(port) }, func() uint64 {
		s := port.Stats()
		return s.InBytes + s.InFrames*frameCost
	})}
	if err := d.serve(lp); err != nil {
		return err
	}
	for session := range d.sessions {
		session.join(lp)
	}
	d.ports[packetKey], p.live = lp, lp
	p.inside, p.routes = nil, nil
	return nil
}

// packetKey is that of the port outside, which is on no network.
var packetKey = portKey{"outside", exitName}

// closePacket takes away what there is of the uplink. The caller holds d.mu.
func (d *dataPath) closePacket() {
	p := d.packet
	if p == nil || p.queue == nil {
		return
	}
	if p.live != nil {
		p.live.charges[0].worker.drop(p.live.charges[0])
		delete(d.ports, packetKey)
	}
	if p.router != nil {
		p.router.Close()
	}
	if p.port != nil {
		d.sw.RemovePort(p.port)
	}
	p.queue.Close()
	p.queue, p.packet, p.domain, p.port, p.router, p.live = nil, nil, nil, nil, nil, nil
}

// tickPacket looks after the uplink: its interface, its next hops, its flows. What is wrong
// becomes a fault, so that publish tries again. The caller holds d.mu.
func (d *dataPath) tickPacket(now uint32) {
	p := d.packet
	if p == nil {
		return
	}
	p.table.Tick(now)
	if p.queue == nil {
		return
	}
	mtu, err := uplink.InterfaceMTU(p.cfg.Interface)
	switch {
	case p.live.dead(), p.packet != nil && errors.Is(p.packet.Refresh(), os.ErrClosed):
		d.closePacket()
		err = fmt.Errorf("uplink %s: the interface is gone", p.cfg)
	case err == nil:
		p.port.SetMTU(mtu)
		err = d.routePacket()
		p.router.Tick(d.asker)
	}
	if err != nil {
		if d.faults == nil {
			d.faults = make(map[faultKey]error)
		}
		d.faults[packetFault] = err
	}
}

// packetFault is what faults of the uplink are filed under.
var packetFault = faultKey{port: packetKey}

// routePacket publishes what is inside and the ways outside, where that has changed, and
// opens the uplink first if it is not open. The caller holds d.mu.
func (d *dataPath) routePacket() error {
	p := d.packet
	if p == nil {
		return nil
	}
	if p.queue == nil {
		if err := d.openPacket(); err != nil {
			return err
		}
	}
	inside := d.inners()
	d.setRules(inside)
	routes, err := p.ways()
	if slices.Equal(inside, p.inside) && slices.Equal(routes, p.routes) {
		return err
	}
	if failed := p.router.Publish(inside, routes); failed != nil {
		return errors.Join(err, failed)
	}
	p.inside, p.routes = inside, routes
	return err
}
