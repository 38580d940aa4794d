package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/node"
)

func (a *app) swarmCmd() *cobra.Command {
	c := &cobra.Command{Use: "swarm COMMAND", Short: "Make nodes one: init, join, tokens, keys", Args: cobra.ArbitraryArgs, RunE: group}
	c.AddCommand(a.swarmInitCmd(), a.swarmJoinCmd(), a.swarmLeaveCmd(), a.swarmTokenCmd(), a.swarmUpdateCmd(), a.swarmCACmd(),
		a.swarmRotateKeysCmd(), a.swarmUnlockCmd(), a.swarmUnlockKeyCmd())
	return c
}

// availabilityHelp describes a flag of several commands.
const availabilityHelp = "Availability of the node: active, pause or drain"

func (a *app) swarmInitCmd() *cobra.Command {
	var o client.SwarmInitOptions
	var pools []string
	var spec swarmSpecFlags
	var availability string
	c := &cobra.Command{
		Use: "init [FLAGS]", Short: "Make a swarm, with this node as its first manager", Args: noArgs,
		Long: "Make a swarm, with this node as its first manager. Where the node listens and how others find it are the daemon's flags:\n" +
			"--advertise-addr, --control-port, --gossip-port, --data-path-addr, --data-path-port.",
	}
	fl := c.Flags()
	fl.BoolVar(&o.ForceNewCluster, "force-new-cluster", false, "Go on with what this manager has, without the others, which are lost")
	fl.StringSliceVar(&pools, "default-addr-pool", nil, "Prefix that subnets of overlays are cut from; repeatable (default 10.0.0.0/8)")
	fl.Uint32Var(&o.SubnetSize, "default-addr-pool-mask-length", 24, "Bits of these subnets")
	fl.StringVar(&availability, "availability", "active", availabilityHelp)
	spec.bind(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		for _, p := range pools {
			prefix, err := netip.ParsePrefix(p)
			if err != nil {
				return usagef(c, "default-addr-pool %q: expected a prefix such as 10.0.0.0/8", p)
			}
			o.DefaultAddrPool = append(o.DefaultAddrPool, prefix)
		}
		spec.apply(c, &o.Spec)
		o.AutoLockManagers, o.Availability = o.Spec.EncryptionConfig.AutoLockManagers, swarm.NodeAvailability(availability)
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		r, err := cl.SwarmInit(c.Context(), o)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "Swarm initialized: current node (%s) is now a manager.\n\n", r.NodeID)
		if o.ForceNewCluster {
			return nil
		}
		if err := a.showToken(c, "worker", false); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "To add a manager to this swarm, run 'weft swarm join-token manager' and follow the instructions.")
		if !o.AutoLockManagers {
			return nil
		}
		return a.showUnlockKey(c, false)
	}
	return c
}

func (a *app) swarmJoinCmd() *cobra.Command {
	var o client.SwarmJoinOptions
	var availability string
	c := &cobra.Command{Use: "join [FLAGS] MANAGER[:PORT]...", Short: "Make this node a member of a swarm", Args: minArgs(1, "MANAGER[:PORT]")}
	c.Flags().StringVar(&o.JoinToken, "token", "", "What lets the node in: \"weft swarm join-token worker\" on a manager prints it")
	c.Flags().StringVar(&availability, "availability", "active", availabilityHelp)
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
		o.Availability = swarm.NodeAvailability(availability)
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

func (a *app) swarmLeaveCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "leave [FLAGS]", Short: "Take this node out of its swarm", Args: noArgs}
	c.Flags().BoolVarP(&force, "force", "f", false, "A manager, too")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if _, err := cl.SwarmLeave(c.Context(), client.SwarmLeaveOptions{Force: force}); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "Node left the swarm.")
		return nil
	}
	return c
}

func (a *app) swarmTokenCmd() *cobra.Command {
	var rotate, quiet bool
	c := &cobra.Command{Use: "join-token [FLAGS] worker|manager", Short: "Show what a node joins by, or make it anew", Args: exactArgs(1, "worker|manager")}
	c.Flags().BoolVar(&rotate, "rotate", false, "Make a new one: the old one ends")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "The token alone")
	c.RunE = func(c *cobra.Command, args []string) error {
		role := args[0]
		if role != "worker" && role != "manager" {
			return usagef(c, "unknown role %q: expected worker or manager", role)
		}
		if rotate {
			err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) {
				o.RotateWorkerToken, o.RotateManagerToken = role == "worker", role == "manager"
			})
			if err != nil {
				return err
			}
			if !quiet {
				fmt.Fprintf(a.out, "Successfully rotated %s join token.\n\n", role)
			}
		}
		return a.showToken(c, role, quiet)
	}
	return c
}

// showToken prints a join token, and how to use it.
func (a *app) showToken(c *cobra.Command, role string, quiet bool) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	s, err := cl.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	token := s.Swarm.JoinTokens.Worker
	if role == "manager" {
		token = s.Swarm.JoinTokens.Manager
	}
	if quiet {
		fmt.Fprintln(a.out, token)
		return nil
	}
	self, err := cl.NodeInspect(c.Context(), "self", client.NodeInspectOptions{})
	if err != nil {
		return err
	}
	if self.Node.ManagerStatus == nil {
		return errors.New("this node's control address is not known yet: try again")
	}
	fmt.Fprintf(a.out, "To add a %s to this swarm, run the following command:\n\n    weft swarm join --token %s %s\n\n", role, token, self.Node.ManagerStatus.Addr)
	return nil
}

// updateSwarm changes the swarm as it is now.
func (a *app) updateSwarm(c *cobra.Command, change func(*client.SwarmUpdateOptions)) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	s, err := cl.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	o := client.SwarmUpdateOptions{Version: s.Swarm.Version, Spec: s.Swarm.Spec}
	change(&o)
	_, err = cl.SwarmUpdate(c.Context(), o)
	return err
}

// swarmSpecFlags are what a user may set of a swarm.
type swarmSpecFlags struct {
	autolock   bool
	certExpiry time.Duration
}

func (f *swarmSpecFlags) bind(c *cobra.Command) {
	c.Flags().BoolVar(&f.autolock, "autolock", false, "Managers that start again wait to be unlocked with a key")
	c.Flags().DurationVar(&f.certExpiry, "cert-expiry", 90*24*time.Hour, "Life of a node's certificate, at least an hour")
}

func (f *swarmSpecFlags) apply(c *cobra.Command, s *swarm.Spec) {
	if c.Flags().Changed("autolock") {
		s.EncryptionConfig.AutoLockManagers = f.autolock
	}
	if c.Flags().Changed("cert-expiry") {
		s.CAConfig.NodeCertExpiry = f.certExpiry
	}
}

func (a *app) swarmUpdateCmd() *cobra.Command {
	var f swarmSpecFlags
	var rotation time.Duration
	c := &cobra.Command{Use: "update [FLAGS]", Short: "Change settings of the swarm", Args: noArgs}
	f.bind(c)
	c.Flags().DurationVar(&rotation, "key-rotation", 12*time.Hour, "Time between two rotations of the gossip's keys")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if c.Flags().NFlag() == 0 {
			return usagef(c, "nothing to change was named")
		}
		if err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) { f.apply(c, &o.Spec) }); err != nil {
			return err
		}
		if c.Flags().Changed("key-rotation") {
			cl, err := a.connect(false)
			if err != nil {
				return err
			}
			if err := cl.RotateKeys(c.Context(), rotation); err != nil {
				return err
			}
		}
		fmt.Fprintln(a.out, "Swarm updated.")
		if !c.Flags().Changed("autolock") || !f.autolock {
			return nil
		}
		return a.showUnlockKey(c, false)
	}
	return c
}

func (a *app) swarmCACmd() *cobra.Command {
	var rotate bool
	c := &cobra.Command{Use: "ca [FLAGS]", Short: "Show the root certificate, or replace it", Args: noArgs}
	c.Flags().BoolVar(&rotate, "rotate", false, "Make a new one; nodes renew their certificates, and when all have the old one ends")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if rotate {
			if err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) { o.Spec.CAConfig.ForceRotate++ }); err != nil {
				return err
			}
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		s, err := cl.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
		if err == nil {
			fmt.Fprint(a.out, s.Swarm.TLSInfo.TrustRoot)
		}
		return err
	}
	return c
}

func (a *app) swarmRotateKeysCmd() *cobra.Command {
	c := &cobra.Command{Use: "rotate-keys", Short: "Make a new key of the gossip now", Args: noArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if err := cl.RotateKeys(c.Context(), 0); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "Keys rotated.")
		return nil
	}
	return c
}

func (a *app) swarmUnlockCmd() *cobra.Command {
	c := &cobra.Command{Use: "unlock", Short: "Unlock this manager, with the key read from standard input", Args: noArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if isTerminal(a.out) {
			fmt.Fprint(a.out, "Enter unlock key: ")
		}
		var key string
		if _, err := fmt.Fscanln(a.in, &key); err != nil {
			return fmt.Errorf("no unlock key was given: %w", err)
		}
		_, err = cl.SwarmUnlock(c.Context(), client.SwarmUnlockOptions{Key: key})
		return err
	}
	return c
}

func (a *app) swarmUnlockKeyCmd() *cobra.Command {
	var rotate, quiet bool
	c := &cobra.Command{Use: "unlock-key [FLAGS]", Short: "Show the key that unlocks managers, or make it anew", Args: noArgs}
	c.Flags().BoolVar(&rotate, "rotate", false, "Make a new one: keep the old one until all managers have started with the new")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "The key alone")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if rotate {
			if err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) { o.RotateManagerUnlockKey = true }); err != nil {
				return err
			}
		}
		return a.showUnlockKey(c, quiet)
	}
	return c
}

func (a *app) showUnlockKey(c *cobra.Command, quiet bool) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	r, err := cl.SwarmGetUnlockKey(c.Context())
	switch {
	case err != nil:
		return err
	case r.Key == "":
		return errors.New("no unlock key is set: \"weft swarm update --autolock\" sets one")
	case quiet:
		fmt.Fprintln(a.out, r.Key)
	default:
		fmt.Fprintf(a.out, "To unlock a swarm manager after it restarts, run the `weft swarm unlock`\ncommand and provide the following key:\n\n    %s\n\n"+
			"Remember to store this key in a password manager: without it a manager cannot be started again.\n", r.Key)
	}
	return nil
}
