package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weft/internal/capture"
)

// swarmSteps returns the chapter of the tour that plays in a swarm: demo1, demo2 and
// demo3 are on one network, each on a node of its own, and no node was told of the
// others' addresses.
func swarmSteps() []step {
	return []step{
		{"A swarm of three nodes", "Three more nodes: one makes a swarm, the others join it with a token. The managers agree by Raft, all speak mutual TLS.", aSwarm},
		{"A network for all of them", "Made on one node, without peers, VNI or ranges: each node that has a sandbox on it takes part, and addresses are given in turn.", meshUp},
		{"Known before the first packet", "Each node was told where the others' sandboxes are: nothing has to be learned from traffic.", knownBefore},
		{"Everybody reaches everybody", "ARP is answered by the sandbox's own node: the tunnels carry the pings, and nobody is looked for there.", everybody},
		{"An encrypted network beside it", "Made with --opt encrypted. Each two nodes have keys of their own, from what they announced, and no handshake.", vaultUp},
		{"What an eavesdropper gets", "Node 3 is killed, and the tour listens at its ports: no rights are needed for that on one's own loopback.", eavesdrop},
		{"New keys while a transfer runs", "Each rotation, every node makes new keys, and sends by them once it knows that the other has them.", rekeyed},
		{"A node is killed and comes back", "Without a word to the others. Its sandbox lives on, and is reached again as soon as the daemon runs.", killed},
		{"A sandbox goes", "The other nodes forget it, and what is still sent to it ends at the sender's own node.", forgotten},
	}
}

func aSwarm(ctx context.Context, t *tour) (string, error) {
	if err := t.swarm.choose(); err != nil {
		return "", err
	}
	maker := t.stage.(swarmer) // or the chapter is left out
	for i := range swarmNodes {
		n, err := maker.swarmNode(ctx, i, t.swarm.ports)
		if err != nil {
			return "", fmt.Errorf("node %d: %w", i+1, err)
		}
		t.swarm.nodes = append(t.swarm.nodes, n)
	}
	t.swarm.began = time.Now()
	first := t.swarm.nodes[0]
	token, err := first.found(ctx)
	if err != nil {
		return "", err
	}
	made := time.Since(t.swarm.began)
	for i, n := range t.swarm.nodes[1:] {
		if err := n.join(ctx, token, netip.AddrPortFrom(underlay(0), t.swarm.ports.control)); err != nil {
			return "", fmt.Errorf("node %d: %w", i+2, err)
		}
	}
	joined := time.Since(t.swarm.began) - made
	table, err := t.allReady(ctx)
	return fmt.Sprintf("made in %v, two nodes joined in %v\nnode1$ weft node ls\n%s", made.Round(time.Millisecond), joined.Round(time.Millisecond), table), err
}

// allReady waits until the manager has all nodes, ready, and returns its table.
func (t *tour) allReady(ctx context.Context) (table string, err error) {
	return table, eventually(ctx, func() error {
		var err error
		if table, err = t.swarm.nodes[0].roster(ctx); err != nil {
			return err
		}
		for i := range swarmNodes {
			name := fmt.Sprintf("node%d", i+1)
			ready := 0
			for row := range lines(table) {
				if words := strings.Fields(row); contains(words, name, "Ready") && contains(words, "Leader") == (i == 0) {
					ready++
				}
			}
			if ready != 1 {
				return fmt.Errorf("%s is not among the nodes in its role, and ready", name)
			}
		}
		return nil
	})
}

// contains reports whether all of some words are among others.
func contains(words []string, all ...string) bool {
	has := map[string]bool{}
	for _, w := range words {
		has[w] = true
	}
	for _, w := range all {
		if !has[w] {
			return false
		}
	}
	return true
}

func meshUp(ctx context.Context, t *tour) (string, error) {
	_, worker, err := t.inSwarm(1)
	if err != nil {
		return "", err
	}
	if err := worker.mesh(ctx, mesh); err != nil {
		return "", err
	}
	var proof []string
	var pool netip.Prefix
	for i := range swarmNodes {
		there, n, err := t.inSwarm(i)
		if err != nil {
			return "", err
		}
		err = eventually(ctx, func() error {
			if !n.knows(ctx, mesh) {
				return fmt.Errorf("node %d does not have the network", i+1)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if err := there.start(ctx, swarmHost(i), mesh); err != nil {
			return "", err
		}
		a, err := t.meshAddr(ctx, i)
		if err != nil {
			return "", err
		}
		if i == 0 {
			pool = a.Masked()
		}
		if a.Masked() != pool || a.Addr().As4()[3] != byte(i+2) {
			return "", fmt.Errorf("%s got %s, want .%d of %s", swarmHost(i), a, i+2, pool)
		}
		proof = append(proof, fmt.Sprintf("%s on node %d: %s", swarmHost(i), i+1, a))
	}
	return strings.Join(proof, "\n"), nil
}

// others calls f for each pair of different nodes of the swarm, with the address of
// the host on the second.
func (t *tour) others(ctx context.Context, f func(from, to int, addr netip.Addr) error) error {
	if _, _, err := t.inSwarm(swarmNodes - 1); err != nil {
		return err
	}
	for to := range swarmNodes {
		a, err := t.meshAddr(ctx, to)
		if err != nil {
			return err
		}
		for from := range swarmNodes {
			if from == to {
				continue
			}
			if err := f(from, to, a.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

func knownBefore(ctx context.Context, t *tour) (string, error) {
	var proof []string
	err := t.others(ctx, func(from, to int, a netip.Addr) error {
		n := t.swarm.nodes[from]
		err := eventually(ctx, func() error {
			table, err := n.located(ctx, mesh)
			if err == nil && table[a] != t.swarm.tunnel(to) {
				err = fmt.Errorf("node %d has %s of %s behind %q, want %s", from+1, a, swarmHost(to), table[a], t.swarm.tunnel(to))
			}
			return err
		})
		if err != nil {
			return err
		}
		proof = append(proof, fmt.Sprintf("node %d: %s (%s) is behind %s", from+1, a, swarmHost(to), t.swarm.tunnel(to)))
		return nil
	})
	return strings.Join(proof, "\n"), err
}

func everybody(ctx context.Context, t *tour) (string, error) {
	const file, count = "demo1.pcapng", 2
	first, _, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	var proof []string
	pings := func() error {
		return t.others(ctx, func(from, to int, a netip.Addr) error {
			there, _, err := t.inSwarm(from)
			if err != nil {
				return err
			}
			line, err := there.reach(ctx, swarmHost(from), a, count)
			if err == nil && len(proof) == 0 {
				line += ", " + t.inTime(time.Since(t.swarm.began))
			}
			proof = append(proof, line)
			return err
		})
	}
	crossed, err := t.overhear(ctx, func() error { return first.capture(ctx, swarmHost(0), "arp", t.path(file), pings) })
	if err != nil {
		return strings.Join(proof, "\n"), err
	}
	asked, err := t.asked(ctx, file)
	proof = append(proof, asked, "between the nodes: "+crossed.String())
	// Each of three pairs: requests and replies, begun by either.
	if want := 3 * 4 * count; err == nil && (crossed.echoes != want || crossed.searches+crossed.others > 0) {
		err = fmt.Errorf("want %d echoes, no searches, nothing else", want)
	}
	if err == nil {
		err = t.noDrops(ctx)
	}
	return strings.Join(proof, "\n"), err
}

// inTime says how long it took, and whether that was the aim.
func (t *tour) inTime(took time.Duration) string {
	s := fmt.Sprintf("%.1f s after the first command of the swarm", took.Seconds())
	if took > swarmAim {
		return s + fmt.Sprintf(", which is more than the %v it should be", swarmAim)
	}
	return s
}

// noDrops wants that nothing that came by a tunnel of the swarm was dropped, but what
// came to a node that had no sandbox on the network yet and was for all of them.
func (t *tour) noDrops(ctx context.Context) error {
	for i, n := range t.swarm.nodes {
		tunnels, err := n.tunnels(ctx, mesh)
		if err != nil {
			return err
		}
		if len(tunnels) != swarmNodes-1 {
			return fmt.Errorf("node %d has tunnels to %d nodes, want %d", i+1, len(tunnels), swarmNodes-1)
		}
		for from, dropped := range tunnels {
			for reason, n := range dropped {
				// What is for all (a query) may come before the sandbox's own port is there.
				if n > 0 && reason != "split-horizon" && reason != "no-port" {
					return fmt.Errorf("node %d dropped %d frames that came from %s as %s, want none", i+1, n, from, reason)
				}
			}
		}
	}
	return nil
}

// asked wants requests of demo1 in a capture of its own port, all of them answered.
func (t *tour) asked(ctx context.Context, file string) (string, error) {
	asks, answers := 0, 0
	mine, err := t.meshAddr(ctx, 0)
	if err != nil {
		return "", err
	}
	err = packets(t.path(file), func(p *capture.Packet) error {
		switch s := capture.Summary(p.Data); {
		case strings.Contains(s, "tell "+mine.Addr().String()+","):
			asks++
		case strings.Contains(s, " is at "):
			answers++
		}
		return nil
	})
	if err == nil && (asks == 0 || answers != asks) {
		err = fmt.Errorf("%d ARP requests of demo1 and %d answers on its port, want as many answers as requests, and some", asks, answers)
	}
	return fmt.Sprintf("demo1's port: %d ARP requests, %d answers, from the table of node 1", asks, answers), err
}

func killed(ctx context.Context, t *tour) (string, error) {
	first, _, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	_, last, err := t.inSwarm(swarmNodes - 1)
	if err != nil {
		return "", err
	}
	second, err := t.meshAddr(ctx, 1)
	if err != nil {
		return "", err
	}
	third, err := t.meshAddr(ctx, swarmNodes-1)
	if err != nil {
		return "", err
	}
	if err := last.kill(ctx); err != nil {
		return "", err
	}
	cut, err := first.refused(ctx, "demo1", third.Addr())
	still, err2 := first.reach(ctx, "demo1", second.Addr(), 2)
	start := time.Now()
	if err := errors.Join(err, err2, last.resume(ctx)); err != nil {
		return cut, err
	}
	var back string
	err = eventually(ctx, func() (err error) { back, err = first.reach(ctx, "demo1", third.Addr(), 2); return err })
	return fmt.Sprintf("node 3 is dead\n%s\n%s\nnode 3 starts\n%s\n%.1f s after its start", cut, still, back, time.Since(start).Seconds()), err
}

func forgotten(ctx context.Context, t *tour) (string, error) {
	first, one, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	gone, err := t.meshAddr(ctx, 1)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := t.swarm.nodes[1].end(ctx, swarmHost(1)); err != nil {
		return "", err
	}
	for _, i := range []int{0, 2} {
		_, n, err := t.inSwarm(i)
		if err != nil {
			return "", err
		}
		err = eventually(ctx, func() error {
			table, err := n.located(ctx, mesh)
			if err == nil && table[gone.Addr()] != "" {
				err = fmt.Errorf("node %d still has %s behind %s", i+1, gone.Addr(), table[gone.Addr()])
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	proof := fmt.Sprintf("nodes 1 and 3 have no %s any more, %v after the command", gone.Addr(), time.Since(start).Round(time.Millisecond))
	line, err := first.endsAtHome(ctx, one, gone.Addr())
	return proof + "\n" + line, err
}

// endsAtHome pings who is nobody any more from demo1, and wants its node to drop it
// and to send nothing to the one node that is left on the network.
func (t *tour) endsAtHome(ctx context.Context, one swarmNode, to netip.Addr) (string, error) {
	err := eventually(ctx, func() error {
		tunnels, err := one.tunnels(ctx, mesh)
		if _, there := tunnels[t.swarm.vtep(1)]; err == nil && there {
			err = errors.New("node 1 still has a tunnel to node 2, which has no sandbox on the network")
		}
		return err
	})
	if err != nil {
		return "", err
	}
	before, err := t.drops(ctx, swarmHost(0))
	if err != nil {
		return "", err
	}
	var line string
	file := t.path("home.pcapng")
	err = t.capture(ctx, t.swarm.tunnel(2), "", file, func() (err error) { line, err = t.refused(ctx, swarmHost(0), to); return err })
	if err != nil {
		return "", err
	}
	var c crossing
	err = packets(file, c.count)
	if err == nil && c.echoes+c.searches+c.others > 0 {
		err = fmt.Errorf("node 1 sent something to node 3 on the way to nobody: %s", c.String())
	}
	after, err2 := t.drops(ctx, swarmHost(0))
	lost := after["unknown-arp"] + after["unknown-mac"] - before["unknown-arp"] - before["unknown-mac"]
	if err = errors.Join(err, err2); err == nil && lost == 0 {
		err = errors.New("node 1 has not counted what demo1 sent to nobody as unknown-arp or unknown-mac")
	}
	return fmt.Sprintf("%s\nnode 1 has no tunnel to node 2 any more, dropped %d frames as unknown, and sent none of them to node 3", line, lost), err
}
