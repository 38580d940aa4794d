package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Routes returns the unicast routes of the kernel's main table that lead out by an
// interface alone, in the order of the table. They are for whoever sends by that
// interface without the kernel.
func Routes(ifname string) ([]Route, error) {
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("uplink packet:%s: %w", ifname, err)
	}
	var all []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rows, err := netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("uplink packet:%s: read the kernel's routes: %w", ifname, err)
		}
		for _, r := range rows {
			if route, ok := routeOf(&r, family); ok {
				all = append(all, route)
			}
		}
	}
	return all, nil
}

func routeOf(r *netlink.Route, family int) (Route, bool) {
	if r.Type != unix.RTN_UNICAST || r.Flags&unix.RTNH_F_DEAD != 0 || len(r.MultiPath) > 0 {
		return Route{}, false
	}
	dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if family == netlink.FAMILY_V6 {
		dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.Dst != nil {
		a, ok := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		if dst = netip.PrefixFrom(a.Unmap(), ones); !ok || !dst.IsValid() {
			return Route{}, false
		}
	}
	via, _ := netip.AddrFromSlice(r.Gw)
	if r.Gw == nil && r.Via != nil { // an IPv4 route by an IPv6 next hop (RFC 5549)
		v, ok := r.Via.(*netlink.Via)
		if !ok {
			return Route{}, false
		}
		via, _ = netip.AddrFromSlice(v.Addr)
	}
	return Route{Dst: dst.Masked(), Via: via.Unmap()}, true
}

// CheckPacket reports what forbids to open an uplink, for the kernel would meddle:
//
//   - It has one of the addresses itself. It would answer what is for them, with a
//     reset for each connection that it does not know.
//   - It routes, and the uplink has the interface's own MAC, so that the kernel takes
//     its packets for packets to route.
func CheckPacket(c PacketConfig) error {
	link, err := netlink.LinkByName(c.Interface)
	if err != nil {
		return fmt.Errorf("uplink packet:%s: there is no such interface here; `ip link` lists them: %w", c.Interface, err)
	}
	for _, a := range c.Addrs {
		if err := checkOwner(a); err != nil {
			return fmt.Errorf("uplink packet:%s: %w", c.Interface, err)
		}
	}
	if own := link.Attrs().HardwareAddr; len(own) == len(c.MAC) && [6]byte(own) != c.MAC && c.MAC != [6]byte{} {
		return nil
	}
	for _, knob := range forwarding(c.Interface, c.Addrs) {
		if on(knob) {
			return fmt.Errorf("uplink packet:%s: the uplink would have the MAC of the interface, and the kernel routes what comes for that (%s is 1): set it to 0, or give the uplink a MAC of its own", c.Interface, knob)
		}
	}
	return nil
}

// checkOwner reports an address that the kernel takes for its own: because an interface has
// it, or a route says so.
func checkOwner(a netip.Addr) error {
	where, del, has := holder(a)
	if !has {
		routes, err := netlink.RouteGet(a.AsSlice())
		if err != nil || !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Type == unix.RTN_LOCAL }) {
			return nil // no way there at all: surely not its own
		}
	}
	return fmt.Errorf("the kernel has %s itself%s: it would reset every connection of weft's; take the address from it%s, or give another one with --uplink-addr", a, where, del)
}

// holder says on which interface the kernel has an address, if it has, and the command that
// takes it away.
func holder(a netip.Addr) (where, del string, has bool) {
	rows, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return "", "", false
	}
	for _, r := range rows {
		if b, _ := netip.AddrFromSlice(r.IP); b.Unmap() != a {
			continue
		}
		ifi, err := net.InterfaceByIndex(r.LinkIndex)
		if err != nil {
			return "", "", true
		}
		return " on " + ifi.Name, fmt.Sprintf(" (ip addr del %s dev %s)", r.IPNet, ifi.Name), true
	}
	return "", "", false
}

// forwarding names the kernel's settings that say whether it routes what comes by an
// interface, for the families of the addresses.
func forwarding(ifname string, addrs []netip.Addr) (knobs []string) {
	if slices.ContainsFunc(addrs, netip.Addr.Is4) {
		knobs = append(knobs, "net/ipv4/conf/"+ifname+"/forwarding")
	}
	if slices.ContainsFunc(addrs, netip.Addr.Is6) {
		knobs = append(knobs, "net/ipv6/conf/all/forwarding")
	}
	return knobs
}

// on reports whether a setting of the kernel's is 1.
func on(knob string) bool {
	b, err := os.ReadFile("/proc/sys/" + knob)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// IsTAP reports whether an interface is a TAP.
func IsTAP(ifname string) bool {
	link, err := netlink.LinkByName(ifname)
	t, ok := link.(*netlink.Tuntap)
	return err == nil && ok && t.Mode == netlink.TUNTAP_MODE_TAP
}

// InterfaceMTU returns the MTU of an interface, in bytes.
func InterfaceMTU(ifname string) (int, error) {
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return 0, fmt.Errorf("uplink packet:%s: %w", ifname, err)
	}
	return link.Attrs().MTU, nil
}

// Refresh reads the interface's MTU again. Its error is [ErrGone] when the interface is
// not there any more.
func (p *Packet) Refresh() error {
	link, err := netlink.LinkByIndex(p.index)
	if err != nil {
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return p.fail("look", ErrGone)
		}
		return p.fail("look", err)
	}
	p.mtu.Store(int32(link.Attrs().MTU))
	return nil
}
