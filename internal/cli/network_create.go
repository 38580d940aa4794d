package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/cnm"
)

// networkFlags are the flags of `weft network create`, Docker's.
type networkFlags struct {
	driver, scope, configFrom                 string
	attachable, ingress, internal, configOnly bool
	ipv4, ipv6                                bool
	subnets, ranges, gateways                 []string
	ipamDriver                                string
	aux, ipamOptions, options, labels         mapFlag
}

func (a *app) networkCreateCmd() *cobra.Command {
	var f networkFlags
	c := &cobra.Command{
		Use: "create [FLAGS] NETWORK", Short: "Make a network", Args: exactArgs(1, "NETWORK"),
		Long: "Make a network.\n\n" +
			"One made with --driver overlay reaches over several nodes. Without a swarm, each node makes it with the same subnet and VNI, with the\n" +
			"others as its peers, and with a part of the subnet of its own to give addresses from. Options of an overlay:\n\n" +
			"  -o weft.vni=NUMBER           VXLAN network identifier, 1 to 16777215, the same on every node\n" +
			"  -o weft.peers=PEER,...       the other VTEPs: ADDRESS, ADDRESS:PORT or [IPV6]:PORT (default port: this node's own)\n" +
			"  -o weft.multicast=on|off     flood broadcast and multicast to the peers (default on)\n" +
			"  -o com.docker.network.driver.mtu=BYTES   MTU of its interfaces (default what the underlay leaves)\n" +
			"  -o encrypted                 what goes between nodes is sealed (ESP in UDP, port 4500), and nothing goes in clear\n" +
			"  -o weft.cipher=CIPHER        by aes-256-gcm (default), aes-128-gcm or chacha20-poly1305, the same on every node\n" +
			"  -o weft.esn=on|off           sequence numbers of 64 bits (default on), the same on every node\n" +
			"  -o weft.psk-file=/PATH       without a swarm: the file of a secret that the nodes share, mode 0600",
		Example: "  weft network create --subnet 10.1.0.0/24 --gateway 10.1.0.1 front\n  weft network create --internal --ipv6 back\n" +
			"  weft network create -d overlay --subnet 10.9.0.0/24 --ip-range 10.9.0.64/26 -o weft.vni=4097 -o weft.peers=192.0.2.2,192.0.2.3 wide\n" +
			"  weft network create -d overlay -o encrypted back",
	}
	f.bind(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		o, err := f.createOptions(c)
		if err != nil {
			return err
		}
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		r, err := cl.NetworkCreate(c.Context(), args[0], o)
		if err != nil {
			return err
		}
		for _, w := range r.Warning {
			fmt.Fprintf(a.err, "weft: warning: %s\n", w)
		}
		fmt.Fprintln(a.out, r.ID)
		return nil
	}
	return c
}

func (f *networkFlags) bind(c *cobra.Command) {
	f.aux.need = true
	fl := c.Flags()
	fl.StringVarP(&f.driver, "driver", "d", "bridge", "What makes the network: bridge or overlay")
	fl.StringSliceVar(&f.subnets, "subnet", nil, "Subnet in CIDR form, such as 10.1.0.0/24; repeatable, also with commas")
	fl.StringSliceVar(&f.ranges, "ip-range", nil, "Part of the subnet that addresses are given from")
	fl.StringSliceVar(&f.gateways, "gateway", nil, "Gateway of the subnet (default its first address)")
	fl.Var(&f.aux, "aux-address", "Address that is kept free, as NAME=IP")
	fl.StringVar(&f.ipamDriver, "ipam-driver", "default", "What gives addresses: default or null")
	fl.Var(&f.ipamOptions, "ipam-opt", "Option of the IPAM driver, as KEY=VALUE")
	fl.BoolVar(&f.ipv4, "ipv4", true, "Give IPv4 addresses")
	fl.BoolVar(&f.ipv6, "ipv6", false, "Give IPv6 addresses")
	fl.BoolVar(&f.internal, "internal", false, "No way out of the network")
	fl.BoolVar(&f.attachable, "attachable", false, "Let sandboxes of their own join a network of swarm scope")
	fl.BoolVar(&f.ingress, "ingress", false, "Make it the swarm's routing mesh")
	fl.StringVar(&f.scope, "scope", "", "Scope: local or swarm")
	fl.StringVar(&f.configFrom, "config-from", "", "Network to copy the configuration from")
	fl.BoolVar(&f.configOnly, "config-only", false, "Only a configuration, for --config-from")
	fl.VarP(&f.options, "opt", "o", "Option of the driver, as KEY=VALUE")
	fl.Var(&f.labels, "label", "Label, as KEY[=VALUE]")
	f.complete(c)
}

// complete offers a shell the drivers, and the options of the one chosen.
func (f *networkFlags) complete(c *cobra.Command) {
	options := func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names := cnm.BridgeOptionNames()
		if f.driver == cnm.DriverOverlay {
			names = cnm.OverlayOptionNames()
		}
		for i := range names {
			if names[i] != cnm.OptEncrypted { // which has no value
				names[i] += "="
			}
		}
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	for flag, words := range map[string]cobra.CompletionFunc{
		"driver":      cobra.FixedCompletions([]string{cnm.DriverBridge, cnm.DriverOverlay}, cobra.ShellCompDirectiveNoFileComp),
		"ipam-driver": cobra.FixedCompletions([]string{cnm.IPAMDefault, cnm.IPAMNull}, cobra.ShellCompDirectiveNoFileComp),
		"opt":         options,
	} {
		// The only error is a flag that does not exist or is completed already.
		_ = c.RegisterFlagCompletionFunc(flag, words)
	}
}

// createOptions turns the flags into the API's request.
func (f *networkFlags) createOptions(c *cobra.Command) (client.NetworkCreateOptions, error) {
	o := client.NetworkCreateOptions{
		Driver: f.driver, Scope: f.scope, Internal: f.internal, Attachable: f.attachable, Ingress: f.ingress,
		ConfigOnly: f.configOnly, ConfigFrom: f.configFrom, Options: f.options.m, Labels: f.labels.m,
	}
	if c.Flags().Changed("ipv4") {
		o.EnableIPv4 = &f.ipv4
	}
	if c.Flags().Changed("ipv6") {
		o.EnableIPv6 = &f.ipv6
	}
	pools, err := f.pools()
	if err != nil {
		return o, &usageError{cmd: c, err: err}
	}
	o.IPAM = &network.IPAM{Driver: f.ipamDriver, Options: f.ipamOptions.m, Config: pools}
	return o, nil
}

// pools gives every range, gateway and auxiliary address the subnet that it lies
// in. The errors are those of docker network create.
func (f *networkFlags) pools() ([]network.IPAMConfig, error) {
	if len(f.subnets) < len(f.ranges) || len(f.subnets) < len(f.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	var pools []network.IPAMConfig
	for _, s := range f.subnets {
		p, err := parseSubnet("--subnet", s)
		if err != nil {
			return nil, err
		}
		for _, have := range pools {
			if have.Subnet.Overlaps(p) && p.Bits() > 0 && p.Addr() != netip.IPv6Unspecified() {
				return nil, fmt.Errorf("multiple overlapping subnet configuration is not supported: %s and %s", have.Subnet, p)
			}
		}
		pools = append(pools, network.IPAMConfig{Subnet: p})
	}
	for _, place := range []func([]network.IPAMConfig) error{f.placeRanges, f.placeGateways, f.placeAux} {
		if err := place(pools); err != nil {
			return nil, err
		}
	}
	return pools, nil
}

func (f *networkFlags) placeRanges(pools []network.IPAMConfig) error {
	for _, s := range f.ranges {
		r, err := parseSubnet("--ip-range", s)
		if err != nil {
			return err
		}
		p := poolOf(pools, r.Addr())
		switch {
		case p == nil || r.Bits() < p.Subnet.Bits():
			return fmt.Errorf("no matching subnet for range %s", s)
		case p.IPRange.IsValid():
			return fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", r, p.IPRange, p.Subnet)
		}
		p.IPRange = r
	}
	return nil
}

func (f *networkFlags) placeGateways(pools []network.IPAMConfig) error {
	for _, s := range f.gateways {
		g, err := parseIP(s, 0)
		if err != nil {
			return fmt.Errorf("--gateway %w", err)
		}
		p := poolOf(pools, g)
		switch {
		case p == nil:
			return fmt.Errorf("no matching subnet for gateway %s", s)
		case p.Gateway.IsValid():
			return fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", g, p.Gateway, p.Subnet)
		}
		p.Gateway = g
	}
	return nil
}

func (f *networkFlags) placeAux(pools []network.IPAMConfig) error {
	for name, s := range f.aux.m {
		x, err := parseIP(s, 0)
		if err != nil {
			return fmt.Errorf("--aux-address %s=%w", name, err)
		}
		p := poolOf(pools, x)
		if p == nil {
			return fmt.Errorf("no matching subnet for aux-address %s", s)
		}
		if p.AuxAddress == nil {
			p.AuxAddress = make(map[string]netip.Addr)
		}
		p.AuxAddress[name] = x
	}
	return nil
}

// poolOf is the pool an address lies in, nil if none.
func poolOf(pools []network.IPAMConfig, a netip.Addr) *network.IPAMConfig {
	for i := range pools {
		if pools[i].Subnet.Contains(a) {
			return &pools[i]
		}
	}
	return nil
}

// parseSubnet reads a prefix; the bits behind it must be zero, so that a typing
// error does not become another subnet.
func parseSubnet(flag, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%s %q is not a subnet such as 10.1.0.0/24", flag, s)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%s %q has host bits set, expected %s", flag, s, p.Masked())
	}
	return p, nil
}
