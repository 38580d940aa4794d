package cli

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/node"
)

// availabilityFlag is a flag of several commands.
func availabilityFlag(c *cobra.Command, first string) *choice {
	return choose(c, "availability", first, "Availability of the node", "active", "pause", "drain")
}

// placementFlags say where a node of a swarm is. That was settled when its daemon
// was started: the daemon takes what is its own and refuses anything else.
type placementFlags struct {
	listen, advertise, dataPath string
}

func (f *placementFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen-addr", "", "ADDRESS|INTERFACE[:PORT] that a manager listens on; as the daemon's")
	fl.StringVar(&f.advertise, "advertise-addr", "", "ADDRESS|INTERFACE[:PORT] that others know this node by; as the daemon's")
	fl.StringVar(&f.dataPath, "data-path-addr", "", "ADDRESS|INTERFACE of the overlays; as the daemon's")
}

const placementLong = "Where the node listens and how others find it is settled\n" +
	"when its daemon starts, by the flags --advertise-addr, --control-port, --gossip-port, --data-path-addr and --data-path-port\n" +
	"of `weft daemon`. Flags here may repeat that; what differs is refused."

func (a *app) swarmInitCmd() *cobra.Command {
	var o client.SwarmInitOptions
	var pools []string
	var spec swarmSpecFlags
	var place placementFlags
	c := &cobra.Command{
		Use: "init [FLAGS]", Short: "Make a swarm, with this node as its first manager", Args: noArgs,
		Long: "Make a swarm, with this node as its first manager. " + placementLong,
	}
	fl := c.Flags()
	fl.BoolVar(&o.ForceNewCluster, "force-new-cluster", false, "Go on with what this manager has, without the others, which are lost")
	fl.StringSliceVar(&pools, "default-addr-pool", nil, "Prefix that subnets of overlays are cut from; repeatable (default 10.0.0.0/8)")
	fl.Uint32Var(&o.SubnetSize, "default-addr-pool-mask-length", 24, "Bits of these subnets")
	fl.Uint32Var(&o.DataPathPort, "data-path-port", 0, "UDP port of the overlays; as the daemon's")
	availability := availabilityFlag(c, "active")
	place.bind(c)
	spec.bind(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.ForceNewCluster {
			if err := nothingNew(c); err != nil {
				return err
			}
		}
		for _, p := range pools {
			prefix, err := netip.ParsePrefix(p)
			if err != nil {
				return usagef(c, "default-addr-pool %q: expected a prefix such as 10.0.0.0/8", p)
			}
			o.DefaultAddrPool = append(o.DefaultAddrPool, prefix)
		}
		spec.apply(c, &o.Spec)
		o.AutoLockManagers, o.Availability = o.Spec.EncryptionConfig.AutoLockManagers, swarm.NodeAvailability(availability.word)
		o.ListenAddr, o.AdvertiseAddr, o.DataPathAddr = place.listen, place.advertise, place.dataPath
		a.warnIdle(c)
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		r, err := cl.SwarmInit(c.Context(), o)
		if err != nil {
			return err
		}
		if o.ForceNewCluster {
			return a.showAlone(c, fmt.Sprintf("Swarm initialized: current node (%s) is now its only manager.", r.NodeID))
		}
		fmt.Fprintf(a.out, "Swarm initialized: current node (%s) is now a manager.\n\n", r.NodeID)
		if err := a.showToken(c, "worker", false); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "To add a manager to this swarm, run 'weft swarm join-token manager' and follow the instructions.")
		if !o.AutoLockManagers {
			return nil
		}
		fmt.Fprintln(a.out)
		return a.showUnlockKey(c, false)
	}
	return c
}

// nothingNew refuses choices for a new swarm where an old one goes on.
func nothingNew(c *cobra.Command) error {
	for _, name := range []string{"default-addr-pool", "default-addr-pool-mask-length", "availability", "autolock", "cert-expiry"} {
		if c.Flags().Changed(name) {
			return usagef(c, "--force-new-cluster goes on with the swarm as it is, so that --%s cannot be given: \"weft swarm update\" and \"weft node update\" change it afterwards", name)
		}
	}
	return nil
}

// showAlone says what has become of the swarm's other nodes, now that this one is
// its only manager.
func (a *app) showAlone(c *cobra.Command, done string) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	r, err := cl.NodeList(c.Context(), client.NodeListOptions{})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, done)
	if others := len(r.Items) - 1; others > 0 {
		as := "is known, as a worker"
		if others > 1 {
			as = "are known, as workers"
		}
		fmt.Fprintf(a.out, "\n%d other node%s %s. What was a manager, and what does not find this node, has to leave and to join again:\n\n"+
			"    weft swarm leave --force\n\n"+
			"'weft node ls' shows who is down, 'weft node rm --force NODE' takes what is lost off the list.\n", others, plural(others), as)
	}
	fmt.Fprintln(a.out, "\nTo add a manager to this swarm, run 'weft swarm join-token manager' and follow the instructions.")
	return nil
}

func (a *app) swarmJoinCmd() *cobra.Command {
	var o client.SwarmJoinOptions
	var place placementFlags
	c := &cobra.Command{
		Use: "join [FLAGS] MANAGER[:PORT]...", Short: "Make this node a member of a swarm", Args: minArgs(1, "MANAGER[:PORT]"),
		Long: "Make this node a member of a swarm. " + placementLong,
	}
	c.Flags().StringVar(&o.JoinToken, "token", "", "What lets the node in: \"weft swarm join-token worker\" on a manager prints it")
	availability := availabilityFlag(c, "active")
	place.bind(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if o.JoinToken == "" {
			return usagef(c, "--token is missing: \"weft swarm join-token worker\" on a manager prints it")
		}
		for _, m := range args {
			if _, _, err := net.SplitHostPort(m); err != nil {
				m = net.JoinHostPort(strings.Trim(m, "[]"), strconv.Itoa(node.DefaultControlPort))
			}
			o.RemoteAddrs = append(o.RemoteAddrs, m)
		}
		o.Availability = swarm.NodeAvailability(availability.word)
		o.ListenAddr, o.AdvertiseAddr, o.DataPathAddr = place.listen, place.advertise, place.dataPath
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		if _, err := cl.SwarmJoin(c.Context(), o); err != nil {
			return err
		}
		info, err := cl.Info(c.Context(), client.InfoOptions{})
		if err != nil {
			return err
		}
		as := "worker"
		if info.Info.Swarm.ControlAvailable {
			as = "manager"
		}
		fmt.Fprintf(a.out, "This node joined a swarm as a %s.\n", as)
		return nil
	}
	return c
}
