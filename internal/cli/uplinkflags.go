package cli

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"weft/internal/node"
)

// uplinkFlags are the daemon's settings for the way out of networks.
type uplinkFlags struct {
	Uplink       string `yaml:"uplink"`
	HostLoopback bool   `yaml:"host-loopback"`
	// Of a packet uplink:
	UplinkAddrs    []string `yaml:"uplink-addr"`
	UplinkGateways []string `yaml:"uplink-gateway"`
	UplinkMAC      string   `yaml:"uplink-mac"`

	uplink node.Uplink
}

func (f *uplinkFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.Uplink, "uplink", node.Uplink{}.String(), "How networks reach the world: host (by sockets of the daemon's own), none, or packet:INTERFACE")
	fl.StringArrayVar(&f.UplinkAddrs, "uplink-addr", nil, "An address of a packet uplink's own, as 192.0.2.7/24, that this machine's kernel does not have; repeatable")
	fl.StringArrayVar(&f.UplinkGateways, "uplink-gateway", nil, "A packet uplink's next hop to everything beyond its link, one for each family (default: as the kernel's routes by the interface say)")
	fl.StringVar(&f.UplinkMAC, "uplink-mac", "own", "A packet uplink's MAC: own, or interface where the link admits no other")
	fl.BoolVar(&f.HostLoopback, "host-loopback", false, "Let sandboxes reach this machine's loopback, at the address of their network's gateway")
}

// merge takes the file's values where the command line has none.
func (f *uplinkFlags) merge(given func(string) bool, file *uplinkFlags) {
	if !given("uplink") {
		f.Uplink = file.Uplink
	}
	if !given("host-loopback") {
		f.HostLoopback = file.HostLoopback
	}
	if !given("uplink-addr") {
		f.UplinkAddrs = file.UplinkAddrs
	}
	if !given("uplink-gateway") {
		f.UplinkGateways = file.UplinkGateways
	}
	if !given("uplink-mac") {
		f.UplinkMAC = file.UplinkMAC
	}
}

// check reads the uplink; none at all is the default one.
func (f *uplinkFlags) check() (err error) {
	f.uplink = node.Uplink{}
	if f.Uplink != "" {
		if f.uplink, err = node.ParseUplink(f.Uplink); err != nil {
			return err
		}
	}
	if f.HostLoopback && f.uplink.Kind != node.UplinkHost {
		return fmt.Errorf("host-loopback: uplink %s does not reach this machine's loopback, expected uplink host", f.uplink)
	}
	return f.checkPacket()
}

// checkPacket reads what is for a packet uplink.
func (f *uplinkFlags) checkPacket() error {
	u := &f.uplink
	for _, s := range f.UplinkAddrs {
		p, err := node.ParseUplinkAddr(s)
		if err != nil {
			return err
		}
		u.Addrs = append(u.Addrs, p)
	}
	for _, s := range f.UplinkGateways {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("uplink-gateway %q: expected an address", s)
		}
		u.Gateways = append(u.Gateways, a)
	}
	switch f.UplinkMAC {
	case "", "own":
	case "interface":
		u.InterfaceMAC = true
	default:
		return fmt.Errorf("uplink-mac %q: expected own or interface", f.UplinkMAC)
	}
	return u.Check()
}
