package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
)

// printSwarm is the block of a node's swarm in weft info: docker info's lines, but
// for settings that weft has not. Managers alone know of the cluster.
func printSwarm(w io.Writer, s swarm.Info) {
	fmt.Fprintln(w, "Swarm:", s.LocalNodeState)
	if s.Error != "" {
		fmt.Fprintln(w, " Error:", s.Error)
	}
	if s.LocalNodeState == swarm.LocalNodeStateInactive || s.LocalNodeState == swarm.LocalNodeStateLocked {
		return
	}
	fmt.Fprintln(w, " NodeID:", s.NodeID)
	fmt.Fprintln(w, " Is Manager:", s.ControlAvailable)
	if c := s.Cluster; c != nil && s.ControlAvailable {
		fmt.Fprintln(w, " ClusterID:", c.ID)
		fmt.Fprintln(w, " Managers:", s.Managers)
		fmt.Fprintln(w, " Nodes:", s.Nodes)
		printCluster(w, c)
	}
	fmt.Fprintln(w, " Node Address:", s.NodeAddr)
	if len(s.RemoteManagers) > 0 {
		fmt.Fprintln(w, " Manager Addresses:")
	}
	var managers []string
	for _, m := range s.RemoteManagers {
		managers = append(managers, m.Addr)
	}
	slices.SortFunc(managers, compareNatural)
	for _, m := range managers {
		fmt.Fprintln(w, "  "+m)
	}
}

func printCluster(w io.Writer, c *swarm.ClusterInfo) {
	var pools []string
	for _, p := range c.DefaultAddrPool {
		pools = append(pools, p.String())
	}
	if len(pools) > 0 {
		fmt.Fprintln(w, " Default Address Pool:", strings.Join(pools, "  "))
		fmt.Fprintln(w, " SubnetSize:", c.SubnetSize)
	}
	if c.DataPathPort != 0 {
		fmt.Fprintln(w, " Data Path Port:", c.DataPathPort)
	}
	fmt.Fprintln(w, " CA Configuration:")
	fmt.Fprintln(w, "  Expiry Duration:", units.HumanDuration(c.Spec.CAConfig.NodeCertExpiry))
	fmt.Fprintln(w, " Autolock Managers:", c.Spec.EncryptionConfig.AutoLockManagers)
	fmt.Fprintln(w, " Root Rotation In Progress:", c.RootRotationInProgress)
}
