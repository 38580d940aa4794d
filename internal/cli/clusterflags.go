package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/node"
)

// clusterFlags are the daemon's settings for swarms: its name there and where it
// listens.
type clusterFlags struct {
	NodeName    string `yaml:"node-name"`
	ControlPort int    `yaml:"control-port"`
	GossipPort  int    `yaml:"gossip-port"`
}

func (f *clusterFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.NodeName, "node-name", "", "Name in a swarm, where no two nodes have the same (default the host name)")
	fl.IntVar(&f.ControlPort, "control-port", node.DefaultControlPort, "TCP port that managers of a swarm listen on")
	fl.IntVar(&f.GossipPort, "gossip-port", node.DefaultGossipPort, "TCP and UDP port that members of a swarm gossip on")
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
}

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
	return nil
}
