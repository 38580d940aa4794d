package cli

import (
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// swarmSpecFlags are what a user may set of a swarm.
type swarmSpecFlags struct {
	autolock   bool
	certExpiry time.Duration
	idle       swarm.Spec // see idleFlags
	history    int64
	snapshots  uint64
}

// idleFlags are those of Docker's settings that have nothing to act on here. They
// are taken, so that scripts run, and said to be without effect.
var idleFlags = map[string]string{
	"task-history-limit":   "weft has no tasks",
	"dispatcher-heartbeat": "weft has no dispatcher: nodes gossip",
	"snapshot-interval":    "managers make a snapshot each 4096 log entries",
	"max-snapshots":        "managers keep two snapshots",
}

const certExpiryHelp = "Life of a node's certificate, at least an hour"

func (f *swarmSpecFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.BoolVar(&f.autolock, "autolock", false, "Managers that start again wait to be unlocked with a key")
	fl.DurationVar(&f.certExpiry, "cert-expiry", 90*24*time.Hour, certExpiryHelp)
	fl.Int64Var(&f.history, "task-history-limit", 5, "Accepted for Docker's sake")
	fl.DurationVar(&f.idle.Dispatcher.HeartbeatPeriod, "dispatcher-heartbeat", 5*time.Second, "Accepted for Docker's sake")
	fl.Uint64Var(&f.idle.Raft.SnapshotInterval, "snapshot-interval", 10000, "Accepted for Docker's sake")
	fl.Uint64Var(&f.snapshots, "max-snapshots", 0, "Accepted for Docker's sake")
	for name := range idleFlags {
		hide(c, name)
	}
}

// apply changes what was named in a swarm's settings.
func (f *swarmSpecFlags) apply(c *cobra.Command, s *swarm.Spec) {
	given := c.Flags().Changed
	if given("autolock") {
		s.EncryptionConfig.AutoLockManagers = f.autolock
	}
	if given("cert-expiry") {
		s.CAConfig.NodeCertExpiry = f.certExpiry
	}
	if given("task-history-limit") {
		s.Orchestration.TaskHistoryRetentionLimit = &f.history
	}
	if given("dispatcher-heartbeat") {
		s.Dispatcher = f.idle.Dispatcher
	}
	if given("snapshot-interval") {
		s.Raft.SnapshotInterval = f.idle.Raft.SnapshotInterval
	}
	if given("max-snapshots") {
		s.Raft.KeepOldSnapshots = &f.snapshots
	}
}

// warnIdle says of each idle flag that was given why it has no effect.
func (a *app) warnIdle(c *cobra.Command) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if why := idleFlags[f.Name]; why != "" {
			fmt.Fprintf(a.err, "weft: --%s has no effect: %s\n", f.Name, why)
		}
	})
}

// ownFlagGiven reports whether a flag of the command's own was given, not only ones
// that all commands have, such as --host.
func ownFlagGiven(c *cobra.Command) (given bool) {
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { given = given || f.Changed })
	return given
}

func (a *app) swarmUpdateCmd() *cobra.Command {
	var f swarmSpecFlags
	var rotation time.Duration
	c := &cobra.Command{Use: "update [FLAGS]", Short: "Change settings of the swarm", Args: noArgs}
	f.bind(c)
	c.Flags().DurationVar(&rotation, "key-rotation", 12*time.Hour, "Time between two rotations of keys: the gossip's, and those of encrypted networks")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !ownFlagGiven(c) {
			return usagef(c, "nothing to change was named")
		}
		if rotation <= 0 {
			return usagef(c, "--key-rotation %v: expected a time between two rotations, such as 12h", rotation)
		}
		a.warnIdle(c)
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
