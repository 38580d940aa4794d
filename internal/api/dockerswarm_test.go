package api

import (
	"strings"
	"testing"

	"weft/internal/cnm"
)

// swarmDocker runs a test with every docker command, each with a backend of its own.
func swarmDocker(t *testing.T, backend func(*testing.T) *swarming, test func(d *docker, b *swarming)) {
	for v, path := range dockers(t) {
		t.Run(v, func(t *testing.T) {
			b := backend(t)
			_, sock := serve(t, b)
			test(&docker{t, path, sock, t.TempDir()}, b)
		})
	}
}

func outside(*testing.T) *swarming { return newSwarming() }

func TestDockerSwarmLife(t *testing.T) {
	swarmDocker(t, outside, func(d *docker, b *swarming) {
		d.fails(1, `This node is not a swarm manager. Use "docker swarm init"`, "node", "ls")
		d.fails(1, "not a swarm manager", "service", "ls")
		d.fails(1, "not part of a swarm", "swarm", "leave")
		d.fails(1, "start it with --advertise-addr 192.0.2.1", "swarm", "init", "--advertise-addr", "192.0.2.1")
		out := d.ok("swarm", "init", "--default-addr-pool", "10.8.0.0/16", "--default-addr-pool-mask-length", "26", "--availability", "drain", "--autolock")
		for _, part := range []string{
			"Swarm initialized: current node (" + selfID + ") is now a manager.",
			"    docker swarm join --token SWMTKN-1-root-worker0 " + ownFront + "\n", "    SWMKEY-1-0\n",
		} {
			if !strings.Contains(out, part) {
				t.Errorf("swarm init prints %s", out)
			}
		}
		if i := b.told().inited; len(i.Pools) != 1 || i.SubnetSize != 26 || i.Availability != cnm.Drain || !i.Spec.AutoLock {
			t.Errorf("asked for %+v", i)
		}
		d.want("active true 1", "info", "-f", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Nodes}}")
		if out := d.ok("info"); !strings.Contains(out, "Swarm: active") || !strings.Contains(out, "ClusterID: cluster") || !strings.Contains(out, "Autolock Managers: true") {
			t.Errorf("info prints %s", out)
		}
		d.want("SWMTKN-1-root-manager0", "swarm", "join-token", "-q", "manager")
		d.want("SWMTKN-1-root-worker1", "swarm", "join-token", "--rotate", "-q", "worker")
		d.want("SWMKEY-1-2", "swarm", "unlock-key", "--rotate", "-q")
		d.want("Swarm updated.", "swarm", "update", "--cert-expiry", "48h", "--autolock=false")
		if s := b.told().swarm.Spec; s.CertExpiry.Hours() != 48 || s.AutoLock {
			t.Errorf("updated to %+v", s)
		}
		d.ok("swarm", "ca", "--rotate", "--detach")
		if !b.told().rotated.Root {
			t.Errorf("rotated %+v", b.told().rotated)
		}
		d.fails(1, "external certificate authorities are not supported", "swarm", "update", "--external-ca", "protocol=cfssl,url=https://ca.example")
		d.fails(1, "already part of a swarm", "swarm", "init")
		d.fails(1, "participating as a manager", "swarm", "leave")
		d.want("Node left the swarm.", "swarm", "leave", "--force")
		d.want("This node joined a swarm as a worker.", "swarm", "join", "--token", "SWMTKN-1-x-worker", "192.0.2.1:2377")
	})
}

// The command shows the root, and waits for a rotation until every node has a
// certificate of the new one.
func TestDockerSwarmCA(t *testing.T) {
	swarmDocker(t, inSwarm, func(d *docker, b *swarming) {
		d.want(strings.Join(strings.Fields(string(b.told().swarm.RootPEM)), " "), "swarm", "ca")
		out := d.ok("swarm", "ca", "--rotate")
		if !strings.Contains(out, "BEGIN CERTIFICATE") || !b.told().rotated.Root {
			t.Errorf("swarm ca --rotate prints %s", out)
		}
	})
}

func TestDockerNode(t *testing.T) {
	swarmDocker(t, inSwarm, func(d *docker, b *swarming) {
		d.want("ID HOSTNAME STATUS AVAILABILITY MANAGER STATUS ENGINE VERSION "+
			selfID+" * host1 Ready Active Leader 0.1.0 "+standby+" host2 Down Active Unreachable "+worker+" lab3 Ready Drain", "node", "ls")
		d.want("host2", "node", "ls", "-f", "role=manager", "-f", "name=host2", "--format", "{{.Hostname}}")
		d.want("Ready", "node", "ls", "-f", "id="+worker, "--format", "{{.TLSStatus}}")
		d.fails(1, "invalid role filter", "node", "ls", "-f", "role=boss")
		d.want("host1", "node", "inspect", "-f", "{{.Description.Hostname}}", "self")
		d.want("host2", "inspect", "-f", "{{.Description.Hostname}}", "host2") // not only containers
		d.fails(1, "node nowhere not found", "node", "inspect", "nowhere")
		if out := d.ok("node", "inspect", "--pretty", "host2"); !strings.Contains(out, "losing it stops nothing") || !strings.Contains(out, "Raft Status:") {
			t.Errorf("node inspect --pretty prints %s", out)
		}
		d.want("lab3", "node", "update", "--label-add", "rack=b", "--label-rm", "ssd", "--availability", "pause", "lab3")
		d.want("map[rack:b] pause worker three", "node", "inspect", "-f", "{{.Spec.Labels}} {{.Spec.Availability}} {{.Spec.Role}} {{.Spec.Name}}", "lab3")
		d.want("Node lab3 promoted to a manager in the swarm.", "node", "promote", "lab3")
		d.want("Manager lab3 demoted in the swarm.", "node", "demote", "lab3")
		d.fails(1, "last manager", "node", "demote", "self")
		d.fails(1, "is not down", "node", "rm", "lab3")
		d.want("lab3", "node", "rm", "-f", "lab3")
		d.want("host1 host2", "node", "ls", "--format", "{{.Hostname}}")
	})
}

func TestDockerUnlock(t *testing.T) {
	swarmDocker(t, inSwarm, func(d *docker, b *swarming) {
		b.lockUp("SWMKEY-1-0")
		d.fails(1, "needs to be unlocked", "node", "ls")
		c := d.command("swarm", "unlock")
		c.Stdin = strings.NewReader("SWMKEY-1-0\n")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("swarm unlock: %v %s", err, out)
		}
		d.ok("node", "ls")
	})
}
