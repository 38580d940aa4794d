package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/node"
)

// uplinkFlags are the daemon's settings for the way out of networks.
type uplinkFlags struct {
	Uplink       string `yaml:"uplink"`
	HostLoopback bool   `yaml:"host-loopback"`

	uplink node.Uplink
}

func (f *uplinkFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.Uplink, "uplink", node.Uplink{}.String(), "How networks reach the world: host (by sockets of the daemon's own), none, or packet:INTERFACE")
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
	return nil
}
