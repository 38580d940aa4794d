package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/node"
)

// clusterFlags are the daemon's settings for swarms: its name there, where it
// listens, and how patient it is.
type clusterFlags struct {
	NodeName            string        `yaml:"node-name"`
	ControlPort         int           `yaml:"control-port"`
	GossipPort          int           `yaml:"gossip-port"`
	GossipProfile       string        `yaml:"gossip-profile"`
	GossipInterval      time.Duration `yaml:"gossip-interval"`
	GossipProbeInterval time.Duration `yaml:"gossip-probe-interval"`
	GossipProbeTimeout  time.Duration `yaml:"gossip-probe-timeout"`
	GossipSyncInterval  time.Duration `yaml:"gossip-sync-interval"`
}

func (f *clusterFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.NodeName, "node-name", "", "Name of this node in a swarm, where no two have the same (default the host name)")
	fl.IntVar(&f.ControlPort, "control-port", node.DefaultControlPort, "TCP port that managers of a swarm listen on")
	fl.IntVar(&f.GossipPort, "gossip-port", node.DefaultGossipPort, "TCP and UDP port that members of a swarm gossip on")
	fl.StringVar(&f.GossipProfile, "gossip-profile", "lan", "How patient a swarm's nodes are with each other: lan, or wan for far sites; the same on all")
	fl.DurationVar(&f.GossipInterval, "gossip-interval", 0, "Time between two rounds of gossip (default 200ms)")
	fl.DurationVar(&f.GossipProbeInterval, "gossip-probe-interval", 0, "Time between two probes of another node's life (default 1s, wan 5s)")
	fl.DurationVar(&f.GossipProbeTimeout, "gossip-probe-timeout", 0, "How long a probe's answer may take (default 500ms, wan 3s)")
	fl.DurationVar(&f.GossipSyncInterval, "gossip-sync-interval", 0, "Time between two comparisons of a network's tables with another node's (default 10s)")
}

// durations are the flags that hold a time, by name; 0 is the profile's.
func (f *clusterFlags) durations() map[string]*time.Duration {
	return map[string]*time.Duration{
		"gossip-interval": &f.GossipInterval, "gossip-probe-interval": &f.GossipProbeInterval,
		"gossip-probe-timeout": &f.GossipProbeTimeout, "gossip-sync-interval": &f.GossipSyncInterval,
	}
}

// merge takes the file's values where the command line has none.
func (f *clusterFlags) merge(given func(string) bool, file *clusterFlags) {
	if !given("node-name") {
		f.NodeName = file.NodeName
	}
	if !given("control-port") {
		f.ControlPort = file.ControlPort
	}
	if !given("gossip-port") {
		f.GossipPort = file.GossipPort
	}
	if !given("gossip-profile") {
		f.GossipProfile = file.GossipProfile
	}
	theirs := file.durations()
	for name, d := range f.durations() {
		if !given(name) {
			*d = *theirs[name]
		}
	}
}

// leastTime and mostTime bound what a time of the gossip may be set to.
const (
	leastTime = 10 * time.Millisecond
	mostTime  = time.Hour
)

func (f *clusterFlags) check() error {
	for _, p := range []struct {
		name string
		port int
	}{{"control-port", f.ControlPort}, {"gossip-port", f.GossipPort}} {
		if p.port < 1 || p.port > 65535 {
			return fmt.Errorf("%s %d: expected 1 to 65535", p.name, p.port)
		}
	}
	if len(f.NodeName) > 63 {
		return fmt.Errorf("node-name of %d characters: expected at most 63", len(f.NodeName))
	}
	if f.GossipProfile != "lan" && f.GossipProfile != "wan" {
		return fmt.Errorf("gossip-profile %q: expected lan or wan", f.GossipProfile)
	}
	for name, d := range f.durations() {
		if *d != 0 && (*d < leastTime || *d > mostTime) {
			return fmt.Errorf("%s %v: expected %v to %v", name, *d, leastTime, mostTime)
		}
	}
	interval := map[string]time.Duration{"lan": time.Second, "wan": 5 * time.Second}[f.GossipProfile]
	if f.GossipProbeInterval != 0 {
		interval = f.GossipProbeInterval
	}
	if f.GossipProbeTimeout >= interval {
		return fmt.Errorf("gossip-probe-timeout %v: expected less than the gossip-probe-interval, %v", f.GossipProbeTimeout, interval)
	}
	return nil
}

// gossip is what the node is told of them.
func (f *clusterFlags) gossip() node.GossipTimes {
	return node.GossipTimes{
		Far: f.GossipProfile == "wan", Round: f.GossipInterval, Probe: f.GossipProbeInterval, ProbeTimeout: f.GossipProbeTimeout, Sync: f.GossipSyncInterval,
	}
}
