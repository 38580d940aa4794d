package node

import (
	"bufio"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"

	"weft/internal/cnm"
	"weft/internal/ipam"
)

// newAllocator returns the allocator for the configured default pools.
func (n *Node) newAllocator() (*ipam.Allocator, error) {
	var ranges []ipam.Range
	for _, p := range n.cfg.Pools {
		ranges = append(ranges, ipam.Range{Base: p.Base, Size: p.Size})
	}
	a, err := ipam.New(n.id, ranges)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "default address pools: %w", err)
	}
	return a, nil
}

// reserveLocked takes nw's subnets into use, with gateways and auxiliary
// addresses, and writes what they became into nw.IPAM.Config; on an error none is
// taken. Subnets nobody chose overlap none of avoid.
func (n *Node) reserveLocked(nw *network, avoid []netip.Prefix) error {
	if !hasDomain(&nw.Network) || nw.Scope == cnm.ScopeSwarm {
		return nil // of a network of the swarm the managers keep the addresses
	}
	serial, err := nw.IPAM.Serial()
	if err != nil {
		return err
	}
	if nw.IPAM.Driver != cnm.IPAMNull {
		nw.IPAM.Config = completePools(&nw.Network)
	}
	var from []ipam.Range
	overlay := nw.Driver == cnm.DriverOverlay
	if overlay {
		// Not held against this host's routes: each node has others, and all must
		// choose alike.
		from, avoid = ipam.Overlays(), []netip.Prefix{cnm.OverlayIngress()}
	}
	for i := range nw.IPAM.Config {
		p := &nw.IPAM.Config[i]
		if !p.Subnet.IsValid() || p.AnySubnet() {
			p.Auto = true
		}
		if overlay && p.IPRange.IsValid() && !p.Gateway.IsValid() {
			// The range is this node's, the gateway everybody's.
			p.Gateway = p.Subnet.Addr().Next()
		}
		v6 := p.Subnet.IsValid() && p.Subnet.Addr().Is6() || !p.Subnet.IsValid() && i == autoIPv6(nw)
		pool, err := n.ipam.Request(ipam.Request{
			Owner: nw.Name + " (" + nw.ID + ")", Driver: nw.IPAM.Driver, Subnet: p.Subnet, IPv6: v6, From: from, Range: p.IPRange,
			Gateway: p.Gateway, NoGateway: noGateway(nw, v6), Aux: p.Aux, Serial: serial, Avoid: avoid,
		})
		if err != nil {
			n.unreserveLocked(nw)
			return poolError(err)
		}
		nw.pools = append(nw.pools, pool)
		p.Subnet, p.Gateway = pool.Subnet, pool.Gateway
	}
	return nil
}

// unreserveLocked gives nw's subnets back.
func (n *Node) unreserveLocked(nw *network) {
	for _, p := range nw.pools {
		p.Close()
	}
	nw.pools = nil
}

// completePools returns the pools a network asks for, in their order, with one more
// for each family that is enabled and has none: IPv4 before them, IPv6 behind, as
// Docker lists them. A pool without a subnet stands for one of a missing family,
// IPv4 first.
func completePools(nw *cnm.Network) []cnm.Pool {
	pools := slices.Clone(nw.IPAM.Config)
	loose := slices.DeleteFunc(slices.Clone(pools), func(p cnm.Pool) bool { return p.Subnet.IsValid() })
	pools = slices.DeleteFunc(pools, func(p cnm.Pool) bool { return !p.Subnet.IsValid() })
	has := func(v4 bool) bool {
		return slices.ContainsFunc(pools, func(p cnm.Pool) bool { return p.Subnet.Addr().Is4() == v4 })
	}
	need4, need6 := nw.EnableIPv4 && !has(true), nw.EnableIPv6 && !has(false)
	next := func() (p cnm.Pool) {
		if len(loose) > 0 {
			p, loose = loose[0], loose[1:]
		}
		return p
	}
	if need4 {
		pools = slices.Insert(pools, 0, next())
	}
	if need6 {
		pools = append(pools, next())
	}
	return pools
}

// autoIPv6 returns which of nw's pools without a subnet is to be IPv6, or -1: the
// last, if IPv6 is enabled and no other pool has it.
func autoIPv6(nw *network) int {
	last := len(nw.IPAM.Config) - 1
	if !nw.EnableIPv6 || last < 0 || nw.IPAM.Config[last].Subnet.IsValid() {
		return -1
	}
	for _, p := range nw.IPAM.Config {
		if p.Subnet.IsValid() && p.Subnet.Addr().Is6() {
			return -1
		}
	}
	return last
}

// noGateway reports whether the network keeps no address for its gateway.
func noGateway(nw *network, v6 bool) bool {
	if v6 {
		return nw.options.Mode6 == cnm.ModeIsolated
	}
	return nw.options.Mode4 == cnm.ModeIsolated
}

// addressLocked takes e's addresses, asked for or free ones, one per family that
// nw has; on an error none is taken.
func (n *Node) addressLocked(nw *network, e *cnm.Endpoint) error {
	for _, pool := range nw.pools {
		if !pool.Subnet.IsValid() {
			continue
		}
		want, got := e.Config.IPv6, &e.IPv6
		if pool.Subnet.Addr().Is4() {
			want, got = e.Config.IPv4, &e.IPv4
		}
		if got.IsValid() {
			continue
		}
		addr := want
		var err error
		if want.IsValid() {
			err = pool.Reserve(want)
		} else {
			addr, err = pool.Allocate()
		}
		if err != nil {
			n.releaseLocked(e)
			return poolError(err)
		}
		*got = netip.PrefixFrom(addr, pool.Subnet.Bits())
	}
	return nil
}

// reacquireLocked takes the addresses a restored endpoint has.
func (n *Node) reacquireLocked(nw *network, e *cnm.Endpoint) error {
	if nw.Scope == cnm.ScopeSwarm {
		return nil // see reconcileLeases
	}
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if !p.IsValid() {
			continue
		}
		pool := nw.poolOf(p.Addr())
		if pool == nil {
			return cnm.Errorf(cnm.Conflict, "address %s lies in no subnet of network %s", p.Addr(), nw.Name)
		}
		if err := pool.Reserve(p.Addr()); err != nil {
			return poolError(err)
		}
	}
	return nil
}

// release gives back what endpoints hold. The journal must have forgotten them
// before: of two records with one address, a restart could give it to the wrong one.
func (n *Node) release(eps []cnm.Endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range eps {
		n.releaseLocked(&eps[i])
	}
}

// releaseLocked gives e's addresses back.
func (n *Node) releaseLocked(e *cnm.Endpoint) {
	nw := n.networks[e.NetworkID]
	if nw == nil {
		return // the network went, and its pools with it
	}
	if nw.Scope == cnm.ScopeSwarm {
		if n.member != nil {
			n.member.Release(e.ID)
		}
		e.IPv4, e.IPv6 = netip.Prefix{}, netip.Prefix{}
		return
	}
	for _, p := range []*netip.Prefix{&e.IPv4, &e.IPv6} {
		if pool := nw.poolOf(p.Addr()); p.IsValid() && pool != nil {
			if err := pool.Release(p.Addr()); err != nil {
				n.log.Error("release an address", "network", nw.Name, "address", p.Addr(), "error", err)
			}
		}
		*p = netip.Prefix{}
	}
}

func (nw *network) poolOf(a netip.Addr) *ipam.Pool {
	for _, p := range nw.pools {
		if p.Subnet.IsValid() && p.Subnet.Contains(a) {
			return p
		}
	}
	return nil
}

// subnetsLocked counts the addresses of nw's subnets.
func (n *Node) subnetsLocked(nw *network) []SubnetStatus {
	var out []SubnetStatus
	for _, p := range nw.pools {
		if p.Subnet.IsValid() {
			used, free := p.Counts()
			out = append(out, SubnetStatus{Subnet: p.Subnet, InUse: used, Available: free})
		}
	}
	return out
}

// poolError gives an error of the address management its kind.
func poolError(err error) error {
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

// hostPrefixes returns what a subnet nobody chose must not overlap: the host's
// IPv4 routes and name servers.
func (n *Node) hostPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, a := range cnm.ParseResolvConf(n.hostResolvConf()).Servers {
		if a = a.WithZone(""); !a.IsLoopback() {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return out
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if p, ok := parseRoute(in.Text()); ok {
			out = append(out, p)
		}
	}
	return out
}

// parseRoute reads the destination of a line of /proc/net/route (proc_net(5)):
// fields 2 and 8 are destination and mask in hexadecimal, least byte first.
func parseRoute(line string) (netip.Prefix, bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return netip.Prefix{}, false
	}
	dst, err1 := hex.DecodeString(f[1])
	mask, err2 := hex.DecodeString(f[7])
	if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
		return netip.Prefix{}, false
	}
	bits := 0
	for _, m := range mask {
		for ; m != 0; m <<= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{dst[3], dst[2], dst[1], dst[0]}), bits).Masked(), true
}
