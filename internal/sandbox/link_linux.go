package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configureIPv6 writes the per-interface settings while the interface is down.
// Without an IPv6 address the interface has no IPv6 at all, as in Docker: it would
// send from link-local addresses that nobody gave it. With one, its link-local
// address is made of the MAC (RFC 4291, appendix A), which the guard can check,
// and is usable at once; routers are not asked for, and not believed.
func configureIPv6(sys *os.File, name string, i *Interface) error {
	wanted := false
	for _, p := range i.Addrs {
		wanted = wanted || p.Addr().Is6()
	}
	settings := [][2]string{{"disable_ipv6", "1"}}
	if wanted {
		settings = [][2]string{{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"autoconf", "0"}, {"accept_redirects", "0"},
			{"accept_dad", "0"}, {"dad_transmits", "0"}, {"addr_gen_mode", "0"}, {"use_tempaddr", "0"}}
	}
	for _, s := range settings {
		err := writeSysctl(sys, "net/ipv6/conf/"+name+"/"+s[0], s[1])
		if errors.Is(err, fs.ErrNotExist) && (!wanted || s[0] != "disable_ipv6") {
			continue // no IPv6 in this kernel, or an older one
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func addRoute(h *netlink.Handle, link netlink.Link, dst netip.Prefix, via netip.Addr) error {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst.Masked())}
	if via.IsValid() {
		r.Gw = via.AsSlice()
		// The gateway need not be in the interface's own subnet.
		r.Flags = int(netlink.FLAG_ONLINK)
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("add route to %s via %s: %w", dst, via, err)
	}
	return nil
}

// The destinations of the default routes.
var (
	default4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// replaceDefault sets the default routes of the families that have a gateway. With
// clear, those they have had go first, also by way of other interfaces.
func replaceDefault(h *netlink.Handle, link netlink.Link, gw4, gw6 netip.Addr, clear bool) error {
	for _, f := range [...]struct {
		family  int
		dst     netip.Prefix
		gateway netip.Addr
	}{{unix.AF_INET, default4, gw4}, {unix.AF_INET6, default6, gw6}} {
		if !f.gateway.IsValid() {
			continue
		}
		if f.gateway.Is4() != f.dst.Addr().Is4() {
			return fmt.Errorf("gateway %s is of the other family", f.gateway)
		}
		if clear {
			if err := deleteDefault(h, f.family); err != nil {
				return err
			}
		}
		if err := addRoute(h, link, f.dst, f.gateway); err != nil {
			return err
		}
	}
	return nil
}

// deleteDefault deletes the default routes of a family in the main table.
func deleteDefault(h *netlink.Handle, family int) error {
	routes, err := h.RouteListFiltered(family, &netlink.Route{Dst: nil, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list default routes: %w", err)
	}
	for _, r := range routes {
		if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("delete default route: %w", err)
		}
	}
	return nil
}

func setDefaultRoute(name string, gw4, gw6 netip.Addr) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNoInterface, name, err)
	}
	return replaceDefault(h, link, gw4, gw6, true)
}

// setMaxSuperframe bounds the superframes of an interface. Where the kernel will
// not, they are only carried less well.
func setMaxSuperframe(h *netlink.Handle, link netlink.Link, size int) {
	if size > 0 {
		_ = h.LinkSetGSOMaxSize(link, size)
	}
}

func setMTU(name string, mtu, superframe int) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNoInterface, name, err)
	}
	if err := h.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", name, mtu, err)
	}
	setMaxSuperframe(h, link, superframe)
	return nil
}

// deleteLink deletes an interface; one that is not there is no error.
func deleteLink(name string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("delete interface %s: %w", name, err)
	}
	return nil
}

func loopbackUp() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up lo: %w", err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
