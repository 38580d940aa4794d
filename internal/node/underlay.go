package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"weft/internal/frame"
	"weft/ipsec"
	"weft/vswitch"
	"weft/vxlan"
)

// Theory of operation: the underlay
//
// A tunnel is a port of an overlay's domain whose other side is a remote VTEP:
// what leaves by it is encapsulated. What comes from VTEPs arrives by one
// socket per address family, which a worker serves like a port; a table of
// routes tells it which (VTEP, VNI) is which port, and that nothing else is
// accepted. One for ESP in UDP has several readers, each of which a worker serves, so
// that what one peer sends by several workers is opened by several. The order of removal is
//
//	table without the route, sw.RemovePort
//
// so that no turn that began later finds the port's slot. A socket is opened
// with the first tunnel of its family and closed after the last: a node without
// overlays holds no port.
//
// A node that carries ESP in IP has two sockets for what is sealed: every tunnel's
// route is in both, for the peer may send either way, and its link is made on the one
// that the peer is sent to by. Announcements and keepalives go by UDP always.

// tunnelHorizon is the split-horizon group of all tunnels: what came from one
// VTEP never goes to another, for its sender has sent it there already.
const tunnelHorizon = 1

type underlay struct {
	cfg    underlayConfig
	v4, v6 *underlaySocket
	// For ESP: what goes to and comes from encrypted networks.
	esp4, esp6 *underlaySocket
	raw4, raw6 *underlaySocket              // the same in IP, if the node is to
	sas        *ipsec.Table                 // what they open by
	hosts      atomic.Pointer[[]netip.Addr] // the host's addresses, as last read
}

type underlaySocket struct {
	*vxlan.Socket
	esp     bool      // carries encrypted networks
	inIP    bool      // and in IP
	charges []*charge // by reader
	routes  map[*livePort]vxlan.Route
	// What nobody here expects: a VNI or a VTEP that no network has, what is in clear
	// for an encrypted network, or sealed by another key. A node that is set up wrongly
	// gets it again and again; one that was there first, for a while. Packets of an
	// unknown SPI are left out: nodes probe with new keys before all know them.
	strange   uint64    // datagrams so far
	strangeAt time.Time // when it was seen to grow last
}

// watch notes when datagrams came that no network expects.
func (u *underlay) watch(now time.Time) {
	for _, us := range u.sockets() {
		if n := us.unexpected(); n > us.strange {
			us.strange, us.strangeAt = n, now
		}
	}
}

func (us *underlaySocket) unexpected() uint64 {
	drops := us.Stats().Drops
	return drops[frame.UnknownVNI] + drops[frame.UnknownVTEP] + drops[frame.Cleartext] + drops[frame.BadICV]
}

// A carriage is what a socket carries.
type carriage uint8

const (
	inClear carriage = iota
	espInUDP
	espInIP
)

// at returns where the socket for a peer's family is kept.
func (u *underlay) at(peer netip.Addr, c carriage) **underlaySocket {
	at := [...][2]**underlaySocket{{&u.v4, &u.v6}, {&u.esp4, &u.esp6}, {&u.raw4, &u.raw6}}[c]
	if peer.Is4() {
		return at[0]
	}
	return at[1]
}

// carriage is what a tunnel sends by.
func (s *sealing) carriage() carriage {
	switch {
	case s.keys == nil:
		return inClear
	case s.in == ipsec.InIP:
		return espInIP
	}
	return espInUDP
}

// of returns where the socket is kept that a tunnel sends by.
func (u *underlay) of(p *portPlan) **underlaySocket { return u.at(p.peer.Addr(), p.seal.carriage()) }

// carriages are how what comes by a tunnel may come.
func (u *underlay) carriages(p *portPlan) []carriage {
	switch {
	case p.seal.keys == nil:
		return []carriage{inClear}
	case u.cfg.inIP:
		return []carriage{espInUDP, espInIP}
	}
	return []carriage{espInUDP}
}

// places lists where the sockets are kept.
func (u *underlay) places() []**underlaySocket {
	return []**underlaySocket{&u.v4, &u.v6, &u.esp4, &u.esp6, &u.raw4, &u.raw6}
}

// sockets lists the ones that are open.
func (u *underlay) sockets() (open []*underlaySocket) {
	for _, at := range u.places() {
		if *at != nil {
			open = append(open, *at)
		}
	}
	return open
}

func (u *underlay) charges(all []*charge) []*charge {
	for _, s := range u.sockets() {
		all = append(all, s.charges...)
	}
	return all
}

// close closes the sockets once no worker runs.
func (u *underlay) close() {
	for _, s := range u.sockets() {
		s.Close()
	}
	for _, at := range u.places() {
		*at = nil
	}
}

// socketsFor returns the sockets that a tunnel receives by and the one that it sends
// by, opened if they were not.
func (d *dataPath) socketsFor(p *portPlan) (all []*underlaySocket, sends *underlaySocket, err error) {
	for _, c := range d.underlay.carriages(p) {
		us, err := d.socket(p.peer.Addr(), c)
		if err != nil {
			return nil, nil, err
		}
		if all = append(all, us); c == p.seal.carriage() {
			sends = us
		}
	}
	return all, sends, nil
}

// socket returns the socket for a peer's family, opened if it was not.
func (d *dataPath) socket(peer netip.Addr, carries carriage) (*underlaySocket, error) {
	at := d.underlay.at(peer, carries)
	if *at != nil {
		return *at, nil
	}
	c := &d.underlay.cfg
	local, err := c.local(peer)
	if err != nil {
		return nil, err
	}
	conf := vxlan.Config{Addr: local, NoGSO: c.noGSO, NoGRO: c.noGRO, Workers: c.workers}
	switch carries {
	case espInUDP:
		conf.Readers = min(c.workers-1, maxOpeners) // one of them only asks
		conf.Addr, conf.ESP, conf.Marked = netip.AddrPortFrom(local.Addr(), c.esp), true, c.marked
	case espInIP:
		conf.Addr, conf.ESP, conf.Raw = netip.AddrPortFrom(local.Addr(), 0), true, true
	}
	s, err := vxlan.Listen(conf)
	if err != nil {
		return nil, err
	}
	s.SetSAs(d.underlay.sas)
	us := &underlaySocket{Socket: s, esp: conf.ESP, inIP: conf.Raw, routes: make(map[*livePort]vxlan.Route)}
	for _, r := range s.Readers() {
		us.charges = append(us.charges, d.newCharge(r.FD(), func(w *vswitch.Worker) (int, error) { return receiveAll(w, r) }, func() uint64 {
			bytes, frames := r.Received()
			return bytes + frames*frameCost
		}))
	}
	for i, c := range us.charges {
		if err := d.idlest(0, 1).take(c); err != nil {
			for _, given := range us.charges[:i] {
				given.worker.drop(given)
			}
			s.Close()
			return nil, err
		}
	}
	*at = us
	return us, nil
}

// maxOpeners bounds how many workers open what one peer sends. Each has memory to receive
// by of its own, 4 MiB if it is all used.
const maxOpeners = 4

// receiveAll takes what one receive brings all the way: no poller tells of what is
// left of it.
func receiveAll(w *vswitch.Worker, r *vxlan.Reader) (total int, err error) {
	for {
		n, err := w.Inbound(r)
		if total += n; err != nil || !r.Pending() {
			return total, err
		}
	}
}

// addTunnel makes the port that leads to a remote VTEP.
func (d *dataPath) addTunnel(s step) error {
	dom := d.domains[s.network]
	if dom == nil {
		return nil
	}
	peer := s.port.peer
	all, us, err := d.socketsFor(&s.port)
	if err != nil {
		return fmt.Errorf("network %s: %w", dom.Name(), err)
	}
	vni := d.current[s.network].vni
	var queues []vswitch.Queue
	link, route := us.NewLink(peer, vni), vxlan.Route{Peer: peer, VNI: vni}
	if seal := s.port.seal; seal.keys != nil {
		link, route = us.NewSealedLink(seal.at, vni, seal.keys), vxlan.Route{Keys: seal.keys, VNI: vni}
	}
	for _, q := range link.Queues() {
		queues = append(queues, q)
	}
	p, err := d.sw.AddPort(vswitch.PortConfig{
		Name: s.port.name, Domain: dom, MTU: s.port.mtu, Horizon: tunnelHorizon, MaxMACs: cmp.Or(s.port.maxMACs, vswitch.DefaultDomainMACs),
	}, queues...)
	if err != nil {
		return fmt.Errorf("tunnel %s: %w", s.port.name, err)
	}
	lp := &livePort{key: s.key, network: s.network, plan: s.port, port: p}
	route.Port = p.Index()
	for _, us := range all {
		us.routes[lp] = route
	}
	d.underlay.announce()
	d.enter(lp)
	return nil
}

// announce gives all sockets the tables of their routes. Those in clear know encrypted
// networks, to drop what comes for them.
func (u *underlay) announce() {
	own := u.own()
	for _, us := range u.sockets() {
		routes := make([]vxlan.Route, 0, len(us.routes))
		for _, r := range us.routes {
			routes = append(routes, r)
		}
		for _, esp := range []*underlaySocket{u.esp4, u.esp6} {
			if esp == nil || us.esp {
				continue
			}
			for lp, r := range esp.routes {
				routes = append(routes, vxlan.Route{Peer: lp.plan.peer, VNI: r.VNI, Sealed: true})
			}
		}
		us.SetTable(vxlan.NewTable(routes, own...))
	}
}

// unroute makes the sockets refuse what comes for a tunnel.
func (u *underlay) unroute(lp *livePort) {
	for _, us := range u.sockets() {
		delete(us.routes, lp)
	}
	u.announce()
}

// setSAs gives the sockets for ESP what they open by: all there is under mu, so that
// what was given last is the newest.
func (d *dataPath) setSAs(all func() []*ipsec.Inbound) {
	d.mu.Lock()
	defer d.mu.Unlock()
	table, _ := ipsec.NewTable(all()) // one too many is lost, not believed
	d.underlay.sas = table
	for _, us := range d.underlay.sockets() {
		if us.esp {
			us.SetSAs(table)
		}
	}
}

// sendESP sends a datagram that holds no frame, if there is a socket to send it from.
func (d *dataPath) sendESP(to netip.AddrPort, datagram []byte, in ipsec.Encapsulation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	carries := espInUDP
	if in == ipsec.InIP {
		carries = espInIP
	}
	if us := *d.underlay.at(to.Addr(), carries); us != nil {
		_ = us.Send(to, datagram) // what is lost is sent again
	}
}

// closeUnused closes the sockets that no tunnel needs any more.
func (d *dataPath) closeUnused() {
	for _, at := range d.underlay.places() {
		if us := *at; us != nil && len(us.routes) == 0 {
			for _, c := range us.charges {
				c.worker.drop(c)
			}
			us.Close()
			*at = nil
		}
	}
}

// attend gives a socket that no worker serves to one again. It is the only thing
// that can happen to one: nobody else closes it.
func (d *dataPath) attend() {
	for _, us := range d.underlay.sockets() {
		for _, c := range us.charges {
			if c.dead() {
				c.worker.drop(c)
				_ = d.idlest(0, 1).take(c) // or in a second
			}
		}
	}
}

// setMTU changes what leaves by a port from now on.
func (d *dataPath) setMTU(s step) {
	lp := d.ports[s.key]
	if lp == nil {
		return
	}
	lp.port.SetMTU(s.port.mtu)
	lp.plan.mtu = s.port.mtu
	d.current[s.network].ports[s.key] = lp.plan
}

// pathMTUs asks the kernel for the underlay's MTU towards every peer there is. To
// one that it has no way to now, the last answer stands.
func (d *dataPath) pathMTUs(last map[netip.Addr]int) map[netip.Addr]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := make(map[netip.Addr]int)
	for _, lp := range d.ports {
		peer := lp.plan.peer.Addr()
		if !lp.tunnel() || found[peer] != 0 {
			continue
		}
		if us := *d.underlay.of(&lp.plan); us != nil {
			if mtu, err := d.pathMTU(us.Socket, peer); err == nil {
				found[peer] = mtu
			} else if mtu := last[peer]; mtu != 0 {
				found[peer] = mtu
			}
		}
	}
	return found
}
