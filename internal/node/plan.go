package node

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// Theory of operation: plan and difference
//
// A plan is what the switch should hold, derived from the desired state alone:
// one domain per network, in it one port per attached endpoint, one static
// neighbour per address and one static FDB entry per MAC. makePlan reads no
// clock, no switch and no device, so a table test covers it. difference compares
// the plan that was published last with a new one and lists the steps between
// them, in an order in which each step finds what it needs: ports leave before
// their domain, neighbours before the port that answers for them goes, domains
// come before their ports.

// A portKey names one interface of one sandbox.
type portKey struct {
	sandbox string // id
	ifName  string
}

// desired is the state a plan is made from.
type desired struct {
	networks  []cnm.Network
	endpoints []desiredEndpoint
	guard     bool
	exits     bool // there is an uplink that each network has an exit to
	routed    bool // there is a router that leads networks out
	// port is where peers listen that say nothing else, own are this node's
	// addresses among them.
	port uint16
	own  []netip.Addr
	// pathMTU is the underlay's MTU towards an address, as last looked at.
	pathMTU map[netip.Addr]int
	// filled are the overlays that a cluster fills, by network id; seals what the
	// tunnels of the others are sealed by, of those that are encrypted.
	filled map[string]filling
	seals  map[string]map[netip.AddrPort]sealing
}

// A filling is what the cluster knows of an overlay: its VNI, the VTEPs of the
// other nodes that have it, who lives there, and the smallest MTU that one of them
// has towards the others (0: nobody said).
type filling struct {
	vni     uint32
	vteps   []netip.AddrPort
	remotes []remoteHost
	mtu     int
	seals   map[netip.AddrPort]sealing // by VTEP; of an encrypted network
}

// A remoteHost is an endpoint on another node.
type remoteHost struct {
	mac   frame.MAC
	addrs []netip.Addr
	vtep  netip.AddrPort
	// For its names: the endpoint's id, and the name of its node.
	id, node string
	names    []string
}

// A desiredEndpoint is an endpoint whose interface exists.
type desiredEndpoint struct {
	cnm.Endpoint
	sandbox string // name
}

type plan map[string]domainPlan // by network id

type domainPlan struct {
	name       string
	gateways   []netip.Addr
	gatewayMAC frame.MAC
	isolated   bool           // ports do not talk to each other
	vni        uint32         // 0: not an overlay
	quiet      bool           // multicast and broadcast stay on the node
	out        []netip.Prefix // subnets that a router leads out
	filled     bool           // everybody is known: nothing is learned from tunnels, nobody is looked for by flooding
	ports      map[portKey]portPlan
	neighbours map[netip.Addr]frame.MAC
	remotes    map[frame.MAC]portKey // static forwarding entries that lead to tunnels
}

type portPlan struct {
	name  string // SANDBOX:IFNAME when the port was made; a label, not compared
	mac   frame.MAC
	addrs []netip.Addr // the only sources the guard lets through
	mtu   int
	guard bool
	peer  netip.AddrPort // valid: a tunnel to this VTEP; it has a name and an MTU besides
	seal  sealing        // of a tunnel of an encrypted network
	exit  bool           // the network's way out; mac and addrs are its gateway's
	// What the endpoint's options allow it.
	allowRA, allowDHCP bool
	maxMACs            int // 0: the switch's default, negative: none is learned
}

// gatewayAddrs are the addresses the switch itself answers for on nw: not those
// the user keeps for a machine of his own.
func gatewayAddrs(nw *cnm.Network, o cnm.BridgeOptions) []netip.Addr {
	var out []netip.Addr
	for _, p := range nw.IPAM.Config {
		switch {
		case !p.Gateway.IsValid():
		case p.Gateway.Is4() && (o.InhibitIPv4 || o.Mode4 == cnm.ModeIsolated):
		case p.Gateway.Is6() && o.Mode6 == cnm.ModeIsolated:
		default:
			out = append(out, p.Gateway)
		}
	}
	return out
}

// gatewayMAC derives the gateway's MAC from its IPv4 address, or from its IPv6
// address where that is all there is.
func gatewayMAC(nw *cnm.Network) frame.MAC {
	var six netip.Addr
	for _, p := range nw.IPAM.Config {
		if p.Gateway.Is4() {
			return deriveMAC(p.Gateway)
		}
		if p.Gateway.IsValid() && !six.IsValid() {
			six = p.Gateway
		}
	}
	if six.IsValid() {
		return deriveMAC(six)
	}
	return frame.MAC{}
}

// makePlan derives the plan from the desired state.
func makePlan(d desired) plan {
	p := make(plan, len(d.networks))
	for i := range d.networks {
		nw := &d.networks[i]
		if !hasDomain(nw) {
			continue
		}
		dom := domainPlan{
			name:       nw.Name,
			gatewayMAC: gatewayMAC(nw),
			ports:      make(map[portKey]portPlan),
			neighbours: make(map[netip.Addr]frame.MAC),
		}
		// The options were read and checked when the network was made.
		if nw.Driver == cnm.DriverOverlay {
			o, _ := cnm.ParseOverlayOptions(nw.Options)
			dom.gateways = gatewayAddrs(nw, cnm.BridgeOptions{})
			if fill, ok := d.filled[nw.ID]; ok {
				dom.fill(nw.ID, fill, o, d)
			} else {
				dom.tunnels(nw.ID, o, d)
			}
		} else {
			o, _ := cnm.ParseBridgeOptions(nw.Options)
			dom.gateways, dom.isolated = gatewayAddrs(nw, o), !o.ICC
		}
		for _, g := range dom.gateways {
			dom.neighbours[g] = dom.gatewayMAC
		}
		p[nw.ID] = dom
	}
	for i := range d.endpoints {
		e := &d.endpoints[i]
		if dom, ok := p[e.NetworkID]; ok {
			dom.add(e, d.guard)
		}
	}
	if d.exits {
		p.exits(d.networks)
	}
	if d.routed {
		p.routed(d.networks)
	}
	return p
}

// hasDomain reports whether nw is switched here.
func hasDomain(nw *cnm.Network) bool { return nw.Switched() }

func (dom domainPlan) add(e *desiredEndpoint, guard bool) {
	var addrs []netip.Addr
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if p.IsValid() {
			addrs = append(addrs, p.Addr())
		}
	}
	addrs = append(addrs, e.Config.LinkLocal...)
	if e.IPv6.IsValid() {
		addrs = append(addrs, linkLocal(e.MAC))
	}
	o, _ := cnm.ParseEndpointOptions(e.Config.DriverOpts) // checked when it joined
	dom.ports[portKey{e.SandboxID, e.IfName}] = portPlan{
		name: e.sandbox + ":" + e.IfName, mac: e.MAC, addrs: addrs, mtu: e.MTU, guard: guard && !o.NoGuard,
		allowRA: o.AllowRA, allowDHCP: o.AllowDHCP, maxMACs: o.MACLimit,
	}
	for _, a := range addrs {
		dom.neighbours[a] = e.MAC
	}
	delete(dom.remotes, e.MAC) // it lives here now, whatever others have not heard of yet
}

// A step is one change to the switch.
type step struct {
	op      stepOp
	network string
	domain  domainPlan // addDomain
	key     portKey    // addPort, removePort, setMTU
	port    portPlan   // addPort, setMTU
	addr    netip.Addr // setNeighbour, removeNeighbour
	mac     frame.MAC  // setNeighbour, setRemote, removeRemote
}

type stepOp uint8

// The operations, in the order a difference lists them.
const (
	removeNeighbour stepOp = iota
	removeRemote
	removePort
	removeDomain
	addDomain
	addPort
	setMTU
	setRemote
	setNeighbour
)

func (op stepOp) String() string {
	return [...]string{"remove-neighbour", "remove-remote", "remove-port", "remove-domain", "add-domain", "add-port", "set-mtu", "set-remote", "set-neighbour"}[op]
}

// difference lists the steps that lead from old to next. What a port or a domain
// is cannot be changed in place: a changed one is removed and added.
func difference(old, next plan) []step {
	var steps []step
	for id, was := range old {
		is, ok := next[id]
		if !ok || !was.sameDomain(is) {
			for k := range was.ports {
				steps = append(steps, step{op: removePort, network: id, key: k})
			}
			steps = append(steps, step{op: removeDomain, network: id})
			continue
		}
		steps = was.leaving(steps, id, is)
	}
	for id, is := range next {
		was, ok := old[id]
		if !ok || !was.sameDomain(is) {
			steps = append(steps, step{op: addDomain, network: id, domain: is})
			was = domainPlan{}
		}
		steps = was.coming(steps, id, is)
	}
	slices.SortFunc(steps, compareSteps)
	return steps
}

func (was domainPlan) sameDomain(is domainPlan) bool {
	return was.name == is.name && was.gatewayMAC == is.gatewayMAC && was.isolated == is.isolated &&
		was.vni == is.vni && was.quiet == is.quiet && was.filled == is.filled && slices.Equal(was.gateways, is.gateways)
}

// leaving lists what is in was and no longer in is.
func (was domainPlan) leaving(steps []step, id string, is domainPlan) []step {
	for a := range was.neighbours {
		if _, ok := is.neighbours[a]; !ok {
			steps = append(steps, step{op: removeNeighbour, network: id, addr: a})
		}
	}
	for m, k := range was.remotes {
		if is.remotes[m] != k {
			steps = append(steps, step{op: removeRemote, network: id, mac: m})
		}
	}
	for k, p := range was.ports {
		if q, ok := is.ports[k]; !ok || !p.equal(q) {
			steps = append(steps, step{op: removePort, network: id, key: k})
		}
	}
	return steps
}

// coming lists what is in is and was not in was.
func (was domainPlan) coming(steps []step, id string, is domainPlan) []step {
	for k, p := range is.ports {
		q, ok := was.ports[k]
		switch {
		case !ok || !p.equal(q):
			steps = append(steps, step{op: addPort, network: id, key: k, port: p})
		case p.mtu != q.mtu:
			steps = append(steps, step{op: setMTU, network: id, key: k, port: p})
		}
	}
	for m, k := range is.remotes {
		// The entry went with the port, if that is made anew.
		if was.remotes[m] != k || !was.ports[k].equal(is.ports[k]) {
			steps = append(steps, step{op: setRemote, network: id, key: k, mac: m})
		}
	}
	for a, m := range is.neighbours {
		if old, ok := was.neighbours[a]; !ok || old != m {
			steps = append(steps, step{op: setNeighbour, network: id, addr: a, mac: m})
		}
	}
	return steps
}

// equal reports whether p is q but for the MTU, which can be changed in place.
func (p portPlan) equal(q portPlan) bool {
	return p.mac == q.mac && p.guard == q.guard && p.peer == q.peer && p.seal == q.seal && p.exit == q.exit && p.allowRA == q.allowRA && p.allowDHCP == q.allowDHCP &&
		p.maxMACs == q.maxMACs && slices.Equal(p.addrs, q.addrs)
}

// compareSteps orders by operation, then by object, so that a difference is the
// same every time.
func compareSteps(a, b step) int {
	return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.network, b.network), cmp.Compare(a.key.sandbox, b.key.sandbox),
		cmp.Compare(a.key.ifName, b.key.ifName), a.addr.Compare(b.addr), bytes.Compare(a.mac[:], b.mac[:]))
}
