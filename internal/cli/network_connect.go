package cli

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// connectFlags are the flags of `weft network connect`, Docker's and
// --mac-address.
type connectFlags struct {
	ip, ip6    addrFlag
	linkLocal  addrList
	mac        macFlag
	aliases    []string
	links      []string
	driverOpts mapFlag
	gwPriority int
}

func (a *app) networkConnectCmd() *cobra.Command {
	var f connectFlags
	c := &cobra.Command{
		Use: "connect [FLAGS] NETWORK SANDBOX", Short: "Join a sandbox to a network, while it runs too",
		Args: exactArgs(2, "NETWORK SANDBOX"),
	}
	f.ip.family, f.ip6.family, f.linkLocal.parse, f.driverOpts.need = 4, 6, parseLinkLocal, true
	fl := c.Flags()
	fl.Var(&f.ip, "ip", "IPv4 address")
	fl.Var(&f.ip6, "ip6", "IPv6 address")
	fl.Var(&f.linkLocal, "link-local-ip", "Link-local address")
	fl.Var(&f.mac, "mac-address", "MAC address")
	fl.StringSliceVar(&f.aliases, "alias", nil, "Further name on the network")
	fl.StringArrayVar(&f.links, "link", nil, "Sandbox that shall have another name here, as SANDBOX:ALIAS")
	fl.Var(&f.driverOpts, "driver-opt", "Option of the driver, as KEY=VALUE")
	fl.IntVar(&f.gwPriority, "gw-priority", 0, "The highest among a sandbox's networks gives its default route")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkLinks(f.links); err != nil {
			return usagef(c, "%w", err)
		}
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		_, err = cl.NetworkConnect(c.Context(), args[0], client.NetworkConnectOptions{Container: args[1], EndpointConfig: f.settings()})
		return err
	}
	return c
}

func (f *connectFlags) settings() *network.EndpointSettings {
	return netAttachment{
		ip: f.ip.addr, ip6: f.ip6.addr, linkLocal: f.linkLocal.list, mac: f.mac.mac, aliases: f.aliases, links: f.links,
		driverOpts: f.driverOpts.m, gwPriority: f.gwPriority,
	}.settings()
}

// checkLinks checks the values of --link.
func checkLinks(links []string) error {
	for _, l := range links {
		if name, alias, ok := strings.Cut(l, ":"); name == "" || (ok && alias == "") {
			return fmt.Errorf("--link %q: expected SANDBOX:ALIAS", l)
		}
	}
	return nil
}

func (a *app) networkDisconnectCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "disconnect [FLAGS] NETWORK SANDBOX", Short: "Take a sandbox off a network", Args: exactArgs(2, "NETWORK SANDBOX"),
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Even if the sandbox does not answer")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		_, err = cl.NetworkDisconnect(c.Context(), args[0], client.NetworkDisconnectOptions{Container: args[1], Force: force})
		return err
	}
	return c
}
