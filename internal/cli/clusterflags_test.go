package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/node"
)

func TestClusterFlags(t *testing.T) {
	for _, c := range []struct {
		name, file, args string
		want             node.GossipTimes
		err              string
	}{
		{"nothing", "", "", node.GossipTimes{}, ""},
		{"far", "", "--gossip-profile wan --gossip-probe-timeout 4s", node.GossipTimes{Far: true, ProbeTimeout: 4 * time.Second}, ""},
		{"file", "gossip-interval: 100ms\ngossip-sync-interval: 5s\n", "", node.GossipTimes{Round: 100 * time.Millisecond, Sync: 5 * time.Second}, ""},
		{"both", "gossip-interval: 100ms\ngossip-profile: wan\n", "--gossip-interval 50ms", node.GossipTimes{Far: true, Round: 50 * time.Millisecond}, ""},
		{"probes", "", "--gossip-probe-interval 300ms --gossip-probe-timeout 200ms", node.GossipTimes{Probe: 300 * time.Millisecond, ProbeTimeout: 200 * time.Millisecond}, ""},
		{"profile", "", "--gossip-profile moon", node.GossipTimes{}, `gossip-profile "moon": expected lan or wan`},
		{"too often", "", "--gossip-interval 1ms", node.GossipTimes{}, "gossip-interval 1ms: expected 10ms to 1h0m0s"},
		{"too seldom", "", "--gossip-sync-interval 2h", node.GossipTimes{}, "gossip-sync-interval 2h0m0s: expected"},
		{"negative", "gossip-interval: -1s\n", "", node.GossipTimes{}, "gossip-interval -1s: expected"},
		{"too patient", "", "--gossip-probe-timeout 1s", node.GossipTimes{}, "expected less than the gossip-probe-interval, 1s"},
		{"no time", "gossip-interval: often\n", "", node.GossipTimes{}, "gossip-interval: expected a time such as 200ms"},
		{"control port", "", "--control-port 0", node.GossipTimes{}, "control-port 0: expected 1 to 65535"},
		{"gossip port", "", "--gossip-port 65536", node.GossipTimes{}, "gossip-port 65536: expected 1 to 65535"},
		{"long name", "", "--node-name " + strings.Repeat("n", 64), node.GossipTimes{}, "node-name of 64 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f daemonFlags
			cmd := new(cobra.Command)
			f.bind(cmd)
			args := strings.Fields(c.args)
			if c.file != "" {
				file := filepath.Join(t.TempDir(), "weft.yaml")
				if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", file)
			}
			err := cmd.ParseFlags(args)
			if err == nil {
				err = f.load(cmd)
			}
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, expected %q", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case f.gossip() != c.want:
				t.Errorf("%+v, expected %+v", f.gossip(), c.want)
			}
		})
	}
}
