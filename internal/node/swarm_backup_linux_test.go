package node

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// TestSwarmRestore: a manager loses what it kept of the swarm, and has it again from
// a backup. The other node returns by itself, with what runs there; a sandbox of the
// manager, which lost its interface when the daemon started without the network, has
// one again when it starts.
func TestSwarmRestore(t *testing.T) {
	watchLeaks(t)
	nodes := swarm(t, 2)
	mustNetwork(t, nodes[1], cnm.Network{Name: "over", Driver: cnm.DriverOverlay})
	inTime(t, "the network is known", func() bool { _, err := nodes[2].Network("over"); return err == nil })
	one := mustRun(t, nodes[1], cnm.SandboxSpec{Name: "one", Cmd: program("serve", ":7000"), Networks: on("over")})
	two := mustRun(t, nodes[2], cnm.SandboxSpec{Name: "two", Cmd: program("serve", ":7000"), Networks: on("over")})
	inTime(t, "two is known", func() bool { return knowsMAC(nodes[1], "over", two) })
	var backup, none bytes.Buffer
	if err := nodes[1].SwarmBackup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	if err := nodes[2].SwarmBackup(t.Context(), &none); !errors.Is(err, cnm.Unavailable) || none.Len() > 0 {
		t.Errorf("a worker's backup: %v, %d bytes", err, none.Len())
	}
	whole := backup.Bytes()
	if _, err := nodes[1].SwarmRestore(t.Context(), bytes.NewReader(whole)); !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), "already part of a swarm") {
		t.Errorf("restored in a swarm: %v", err)
	}
	if _, err := nodes[2].SwarmInit(t.Context(), cnm.SwarmInit{ForceNewCluster: true}); !errors.Is(err, cnm.Invalid) || nodes[2].SwarmInfo().State != "active" {
		t.Errorf("a worker went on alone: %v, %+v", err, nodes[2].SwarmInfo())
	}
	before := nodes[1].SwarmInfo()
	cfg := nodes[1].cfg
	dir := nodes[1].swarmDir()
	nodes[1].Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	nodes[1] = openBeside(t, cfg)
	if _, err := nodes[1].SwarmRestore(t.Context(), bytes.NewReader(whole[:len(whole)-1])); !errors.Is(err, cnm.Invalid) || nodes[1].SwarmInfo().State != "inactive" {
		t.Errorf("restored from half a backup: %v, %+v", err, nodes[1].SwarmInfo())
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused backup left %s: %v", dir, err)
	}
	id, err := nodes[1].SwarmRestore(t.Context(), bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	if now := nodes[1].SwarmInfo(); id != before.NodeID || now.NodeID != id || now.Cluster != before.Cluster || !now.Manager {
		t.Errorf("restored as %+v, it was %+v", now, before)
	}
	inTime(t, "the network is known again", func() bool { _, err := nodes[1].Network("over"); return err == nil })
	kill(t, nodes[1], one.ID)
	inTime(t, "one has ended", func() bool { sb, err := nodes[1].Sandbox("one"); return err == nil && sb.State != cnm.Running })
	if err := nodes[1].SandboxStart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	one, err = nodes[1].Sandbox("one")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := addr4(one, "over").String(), "10.0.1.4"; got != want {
		t.Errorf("one got %s, expected %s: two keeps 10.0.1.3", got, want)
	}
	inTime(t, "two is known again", func() bool { return knowsMAC(nodes[1], "over", two) })
	inTime(t, "one is known again", func() bool { return knowsMAC(nodes[2], "over", one) })
	reachInTime(t, nodes[1], "one", two)
	reachInTime(t, nodes[2], "two", one)
}
