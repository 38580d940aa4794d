package sandbox

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/tap"
)

// addInterface makes an interface and returns its name and duplicates of its
// descriptors. The agent's own keep it alive when the daemon dies.
func (a *agent) addInterface(i *Interface) (string, []*os.File, error) {
	if i == nil {
		return "", nil, errors.New("no interface given")
	}
	if a.config.HostNetwork {
		return "", nil, errors.New("the sandbox is in the host's network namespace: it gets no interfaces")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending {
		return "", nil, ErrNotRunning
	}
	a.forgetLocked() // a deleted one may have had the name
	d, files, err := makeInterface(a.sys, i, false)
	if err != nil {
		return "", nil, err
	}
	a.devices = append(a.devices, d)
	return d.Name(), files, nil
}

// removeInterface deletes an interface, also under the daemon's descriptors.
func (a *agent) removeInterface(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.devices, func(d *tap.Device) bool { return d.Name() == name })
	if i < 0 {
		return fmt.Errorf("%w: %s", ErrNoInterface, name)
	}
	d := a.devices[i]
	a.devices = slices.Delete(a.devices, i, i+1)
	err := deleteLink(name)
	return errors.Join(err, d.Close())
}

// removeInterfaces deletes them all.
func (a *agent) removeInterfaces() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.devices {
		deleteLink(d.Name())
		d.Close()
	}
	a.devices = nil
}

// interfaces lists the devices, and forgets those that a process inside deleted.
func (a *agent) interfaces() []*tap.Device {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetLocked()
	return slices.Clone(a.devices)
}

// forgetLocked closes the devices of interfaces that a process inside deleted.
func (a *agent) forgetLocked() {
	a.devices = slices.DeleteFunc(a.devices, func(d *tap.Device) bool {
		if attached(d) {
			return false
		}
		d.Close()
		return true
	})
}

// attached reports whether a device's descriptors still lead to an interface.
func attached(d *tap.Device) bool {
	req, err := unix.NewIfreq("")
	return err == nil && unix.IoctlIfreq(d.Queues()[0].FD(), unix.TUNGETIFF, req) == nil
}

func (a *agent) defaultRoute(name string, gw4, gw6 netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.ContainsFunc(a.devices, func(d *tap.Device) bool { return d.Name() == name }) {
		return fmt.Errorf("%w: %s", ErrNoInterface, name)
	}
	return setDefaultRoute(name, gw4, gw6)
}

func (a *agent) setMTU(name string, mtu, superframe int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.ContainsFunc(a.devices, func(d *tap.Device) bool { return d.Name() == name }) {
		return fmt.Errorf("%w: %s", ErrNoInterface, name)
	}
	return setMTU(name, mtu, superframe)
}

// makeInterface makes and configures a TAP in the calling thread's network
// namespace, wholly or not at all. sys is that namespace's /proc/sys.
func makeInterface(sys *os.File, i *Interface, persist bool) (d *tap.Device, files []*os.File, err error) {
	name := i.Name
	if name == "" {
		name = "eth%d" // the driver takes the first free number
	}
	if d, err = tap.Open(tap.Options{Name: name, Queues: i.Queues, Highest: i.Highest, Exclusive: true, NAPI: i.NAPI}); err != nil {
		return nil, nil, explainTap(err)
	}
	if err = configure(sys, d.Name(), i); err == nil {
		if files, err = d.Files(); err == nil && persist {
			err = d.Persist(true)
		}
	}
	if err != nil {
		closeFiles(files)
		d.Close() // with its last descriptor the interface vanishes
		return nil, nil, fmt.Errorf("interface %s: %w", d.Name(), err)
	}
	return d, files, nil
}

// configure gives an interface that is down all it has, and brings it up.
func configure(sys *os.File, name string, i *Interface) error {
	if err := i.check(); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	if err := configureIPv6(sys, name, i); err != nil {
		return err
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if !i.MAC.IsZero() {
		if err := h.LinkSetHardwareAddr(link, i.MAC[:]); err != nil {
			return fmt.Errorf("set MAC %s: %w", i.MAC, err)
		}
	}
	if i.MTU != 0 {
		if err := h.LinkSetMTU(link, i.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", i.MTU, err)
		}
	}
	setMaxSuperframe(h, link, i.MaxSuperframe)
	if err := writeInterfaceSysctls(sys, name, i.Sysctls); err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for _, p := range i.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(p), Scope: unix.RT_SCOPE_UNIVERSE}
		if p.Addr().IsLinkLocalUnicast() {
			addr.Scope = unix.RT_SCOPE_LINK
		}
		if p.Addr().Is6() {
			// The daemon gave the address, so there is no duplicate to look for.
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	for _, r := range i.Routes {
		if err := addRoute(h, link, r.Dst, r.Via); err != nil {
			return err
		}
	}
	return replaceDefault(h, link, i.Gateway4, i.Gateway6, false)
}

// check refuses what no interface can have, with a better text than the kernel's.
func (i *Interface) check() error {
	if i.MAC.IsGroup() {
		return fmt.Errorf("MAC %s is a group address", i.MAC)
	}
	for _, p := range i.Addrs {
		if !p.IsValid() || p.Addr().IsMulticast() || p.Addr().IsUnspecified() {
			return fmt.Errorf("address %s: a unicast address with a prefix length was expected", p)
		}
	}
	for _, r := range i.Routes {
		if !r.Dst.IsValid() || r.Via.IsValid() && r.Via.Is4() != r.Dst.Addr().Is4() {
			return fmt.Errorf("route %s via %s: two addresses of one family were expected", r.Dst, r.Via)
		}
	}
	return nil
}
