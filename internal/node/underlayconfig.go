package node

import (
	"net"
	"net/netip"

	"weft/internal/cnm"
	"weft/ipsec"
	"weft/vxlan"
)

// underlayConfig says where VTEPs find this node.
type underlayConfig struct {
	addrs        []netip.Addr // to bind, at most one per family
	bound        bool         // addrs were asked for: a family that has none is not served
	port         uint16
	esp          uint16 // where what is sealed is received
	inIP         bool   // what is sealed is carried in IP as well
	noGSO, noGRO bool
	workers      int
	marked       func(from netip.AddrPort, datagram []byte) // takes announcements
}

// probe tries to listen where overlays are to be carried, for whoever was asked
// for an address or a port of their own: one that cannot be had is better known
// before there is an overlay.
func (c *underlayConfig) probe() (errs []error) {
	for _, a := range c.addrs {
		confs := []vxlan.Config{{Addr: netip.AddrPortFrom(a, c.port)}, {Addr: netip.AddrPortFrom(a, c.esp), ESP: true}}
		if c.inIP {
			confs = append(confs, vxlan.Config{Addr: netip.AddrPortFrom(a, 0), ESP: true, Raw: true})
		}
		for _, conf := range confs {
			if !c.bound && !conf.Raw && (conf.Addr.Port() == DefaultDataPathPort && !conf.ESP || conf.Addr.Port() == ipsec.Port && conf.ESP) {
				continue
			}
			s, err := vxlan.Listen(conf)
			if err == nil {
				s.Close()
			} else if c.bound || a.Is4() { // a host may have no IPv6
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// mayCarryInIP fails where this process may not have the sockets that ESP in IP takes.
func (c *underlayConfig) mayCarryInIP() error {
	if !c.inIP {
		return nil
	}
	s, err := vxlan.Listen(vxlan.Config{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), ESP: true, Raw: true})
	if err != nil {
		return err
	}
	return s.Close()
}

// underlay derives where the node's VTEP listens: at the data path addresses,
// else at the advertised one, else everywhere.
func (c *Config) underlay() underlayConfig {
	u := underlayConfig{addrs: c.DataPathAddrs, port: c.DataPathPort, esp: c.ESPPort, inIP: c.ESPInIP, noGSO: c.NoGSO, noGRO: c.NoGRO}
	if len(u.addrs) == 0 && c.AdvertiseAddr.IsValid() {
		u.addrs = []netip.Addr{c.AdvertiseAddr}
	}
	if u.bound = len(u.addrs) > 0; !u.bound {
		u.addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	return u
}

// local returns the address to bind for datagrams to a peer.
func (c *underlayConfig) local(peer netip.Addr) (netip.AddrPort, error) {
	for _, a := range c.addrs {
		if a.Is4() == peer.Is4() {
			return netip.AddrPortFrom(a, c.port), nil
		}
	}
	return netip.AddrPort{}, cnm.Errorf(cnm.Invalid, "peer %s: this node's data path has no %s address: start the daemon with one in --data-path-addr", peer, familyName(peer))
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// own lists the addresses under which peers may mean this node itself. It asks the
// host where no address was given to the data path.
func (c *underlayConfig) own() []netip.Addr {
	if c.bound {
		return c.addrs
	}
	hosts, _ := hostAddrs(net.InterfaceAddrs) // a host that tells nothing has peers only
	return hosts
}

func hostAddrs(read func() ([]net.Addr, error)) (out []netip.Addr, err error) {
	hosts, err := read()
	for _, h := range hosts {
		if p, err := netip.ParsePrefix(h.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out, err
}

// look reads the host's addresses, for own. What cannot be read now is taken to be
// as it was: else a tunnel would lead to this node itself.
func (u *underlay) look(read func() ([]net.Addr, error)) {
	if u.cfg.bound {
		return
	}
	if hosts, err := hostAddrs(read); err == nil {
		u.hosts.Store(&hosts)
	}
}

// own is underlayConfig.own as of the last look: it may be called under any lock.
func (u *underlay) own() []netip.Addr {
	if hosts := u.hosts.Load(); hosts != nil && !u.cfg.bound {
		return *hosts
	}
	return u.cfg.addrs
}

// checkPeers refuses peers that this node's sockets cannot reach.
func (c *underlayConfig) checkPeers(peers []netip.AddrPort) error {
	for _, p := range peers {
		if _, err := c.local(p.Addr()); err != nil {
			return err
		}
	}
	return nil
}
