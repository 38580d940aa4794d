package store

import (
	"errors"
	"net/netip"
	"slices"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

const (
	ingressVNI = 4096 // and the first of all, as Docker's
	lastVNI    = 1<<24 - 1
)

// CreateNetwork makes an overlay network, which has been validated and has its ID
// and time. Subnets, gateways and VNIs that nobody chose are chosen here. Made
// again with the same ID and name it does nothing.
type CreateNetwork struct{ Network cnm.Network }

// RemoveNetwork forgets a network; it has no endpoints any more. One that is not
// there is an error: users remove networks by name.
type RemoveNetwork struct{ ID string }

func (CreateNetwork) kind() string { return "network create" }
func (RemoveNetwork) kind() string { return "network remove" }

func (n CreateNetwork) apply(c *change) error {
	if old, there := c.Networks.Get(n.Network.ID); there && old.Name == n.Network.Name {
		c.result.Network = &old
		return nil
	}
	if err := c.checkNetwork(n.Network); err != nil {
		return err
	}
	nw := Network{Network: n.Network, Version: c.index}
	nw.IPAM.Config = completePools(n.Network)
	var err error
	if nw.VNIs, err = c.vnis(&nw); err != nil {
		return err
	}
	if err := c.m.open(&nw); err != nil {
		return err
	}
	c.Networks = c.Networks.with(nw.ID, nw)
	c.result.Network = &nw
	c.touch()
	return nil
}

func (c *change) checkNetwork(n cnm.Network) error {
	if !cnm.IsID(n.ID) {
		return cnm.Errorf(cnm.Invalid, "invalid network ID %q", n.ID)
	}
	if err := cnm.ValidateNetworkName(n.Name); err != nil {
		return err
	}
	if n.Driver != cnm.DriverOverlay {
		return cnm.Errorf(cnm.Unsupported, "network %s: driver %q has no networks of a swarm (available: %s)", n.Name, n.Driver, cnm.DriverOverlay)
	}
	if c.Networks.Len() == MaxNetworks {
		return cnm.Errorf(cnm.Unavailable, "the swarm has %d networks, the most there can be", MaxNetworks)
	}
	for id, o := range c.Networks.All() {
		switch {
		case id == n.ID:
			return cnm.Errorf(cnm.Conflict, "network ID %s is that of network %s already", cnm.ShortID(id), o.Name)
		case o.Name == n.Name:
			return cnm.Errorf(cnm.Conflict, "network with name %s already exists", n.Name)
		case o.Ingress && n.Ingress:
			return cnm.Errorf(cnm.Conflict, "ingress-network (%s) is already present", cnm.ShortID(id))
		}
	}
	return nil
}

// completePools returns the pools a network asks for that name a subnet, with one
// more for each family that is enabled and has none: IPv4 before them, IPv6
// behind, as Docker lists them.
func completePools(n cnm.Network) []cnm.Pool {
	if n.IPAM.Driver == cnm.IPAMNull {
		return nil
	}
	var v4, v6 bool
	var pools []cnm.Pool
	for _, p := range n.IPAM.Config {
		if p.Subnet.IsValid() {
			v4, v6 = v4 || p.Subnet.Addr().Is4(), v6 || p.Subnet.Addr().Is6()
			p.Auto = p.AnySubnet()
			pools = append(pools, p)
		}
	}
	if n.EnableIPv4 && !v4 {
		pools = slices.Insert(pools, 0, cnm.Pool{Auto: true})
	}
	if n.EnableIPv6 && !v6 {
		pools = append(pools, cnm.Pool{Auto: true})
	}
	return pools
}

// vnis returns a network's VNIs: those it asks for, or the lowest free ones.
func (c *change) vnis(nw *Network) ([]uint32, error) {
	o, err := cnm.ParseOverlayOptions(nw.Options)
	if err != nil {
		return nil, err
	}
	used := map[uint32]string{}
	for _, other := range c.Networks.All() {
		for _, v := range other.VNIs {
			used[v] = other.Name
		}
	}
	want := wantedVNIs(nw)
	if len(o.VNIs) > 0 && len(o.VNIs) != want {
		return nil, cnm.Errorf(cnm.Invalid, "network %s names %d VNIs for %d subnets: expected one for each", nw.Name, len(o.VNIs), want)
	}
	for _, v := range o.VNIs {
		if other, taken := used[v]; taken {
			return nil, cnm.Errorf(cnm.Conflict, "cannot create network %s: VNI %d is in use by network %s", nw.Name, v, other)
		}
		if v == ingressVNI && !nw.Ingress {
			return nil, cnm.Errorf(cnm.Conflict, "cannot create network %s: VNI %d is kept for the ingress network", nw.Name, v)
		}
	}
	if len(o.VNIs) > 0 {
		return o.VNIs, nil
	}
	var out []uint32
	for v := uint32(ingressVNI); len(out) < want && v <= lastVNI; v++ {
		if _, taken := used[v]; !taken && (v != ingressVNI || nw.Ingress) {
			out = append(out, v)
		}
	}
	return out, nil // there are more VNIs than networks can have
}

// wantedVNIs says how many VNIs a network has.
func wantedVNIs(nw *Network) (count int) {
	for i, p := range nw.IPAM.Config {
		if !isIPv6(nw, i, p) {
			count++
		}
	}
	if count == 0 {
		count = len(nw.IPAM.Config)
	}
	return max(count, 1)
}

// isIPv6 reports the family of a network's pool i. Of pools that are still to be
// chosen completely, only the last can be the IPv6 one.
func isIPv6(nw *Network, i int, p cnm.Pool) bool {
	if p.Subnet.IsValid() {
		return p.Subnet.Addr().Is6()
	}
	return nw.EnableIPv6 && i == len(nw.IPAM.Config)-1 && (i > 0 || !nw.EnableIPv4)
}

// open takes a network's subnets into use and writes what they became into it. On
// an error none is taken.
func (m *machine) open(nw *Network) error {
	var pools []*ipam.Pool
	for i := range nw.IPAM.Config {
		p := &nw.IPAM.Config[i]
		var avoid []netip.Prefix
		if !nw.Ingress {
			avoid = []netip.Prefix{cnm.OverlayIngress()}
		}
		pool, err := m.addrs.Request(ipam.Request{
			Owner: nw.Name + " (" + nw.ID + ")", Subnet: p.Subnet, IPv6: isIPv6(nw, i, *p), Range: p.IPRange,
			Gateway: p.Gateway, Aux: p.Aux, Serial: true, Avoid: avoid,
		})
		if err != nil {
			for _, q := range pools {
				q.Close()
			}
			return addressError(err)
		}
		pools = append(pools, pool)
		p.Subnet, p.Gateway = pool.Subnet, pool.Gateway
	}
	if nw.Latest == nil {
		nw.Latest = make([]netip.Addr, len(pools))
	}
	m.pools[nw.ID] = pools
	m.resume(nw)
	return nil
}

// resume sets the places where giving goes on to those of a network's record.
func (m *machine) resume(nw *Network) {
	for i, p := range m.pools[nw.ID] {
		p.Resume(nw.Latest[i])
	}
}

// reopen takes into use what a network of a restored state has.
func (m *machine) reopen(nw Network) error {
	if m.addrs == nil {
		return errors.New("there is a network without a cluster")
	}
	if nw.IPAM.Config = slices.Clone(nw.IPAM.Config); len(nw.Latest) != len(nw.IPAM.Config) {
		return cnm.Errorf(cnm.Invalid, "%d pools and %d places in them", len(nw.IPAM.Config), len(nw.Latest))
	}
	return m.open(&nw)
}

func (r RemoveNetwork) apply(c *change) error {
	nw, there := c.Networks.Get(r.ID)
	if !there {
		return cnm.Errorf(cnm.NotFound, "network %s not found", cnm.ShortID(r.ID))
	}
	if nw.Endpoints > 0 {
		return cnm.Errorf(cnm.Forbidden, "error while removing network: network %s has active endpoints (%d in the swarm)", nw.Name, nw.Endpoints)
	}
	c.Networks = c.Networks.without(r.ID)
	c.result.Network = &nw
	c.touch()
	for _, p := range c.m.pools[r.ID] {
		p.Close()
	}
	delete(c.m.pools, r.ID)
	return nil
}

// addressError gives an error of the address management its kind.
func addressError(err error) error {
	kind := cnm.Invalid
	switch {
	case errors.Is(err, ipam.ErrOverlap), errors.Is(err, ipam.ErrInUse):
		kind = cnm.Forbidden
	case errors.Is(err, ipam.ErrExhausted), errors.Is(err, ipam.ErrNoPools):
		kind = cnm.Unavailable
	case errors.Is(err, ipam.ErrUnsupported):
		kind = cnm.Unsupported
	}
	return cnm.Errorf(kind, "%w", err)
}
