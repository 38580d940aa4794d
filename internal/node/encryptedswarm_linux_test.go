package node

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/ipsec"
)

// encryptedBoxes makes a swarm with a sandbox on each node, on an encrypted network,
// and returns when all reach all.
func encryptedBoxes(t *testing.T, count byte) (nodes map[byte]*Node, boxes map[byte]cnm.Sandbox) {
	t.Helper()
	nodes, boxes = encryptedSwarm(t, count), map[byte]cnm.Sandbox{}
	mustNetwork(t, nodes[1], cnm.Network{Name: "over", Driver: cnm.DriverOverlay, Options: map[string]string{"encrypted": ""}})
	for last := byte(1); last <= count; last++ {
		inTime(t, "the network is known", func() bool { _, err := nodes[last].Network("over"); return err == nil })
		boxes[last] = mustRun(t, nodes[last], cnm.SandboxSpec{Name: "box", Cmd: program("serve", ":7000"), Networks: on("over")})
	}
	for from := range boxes {
		for to := range boxes {
			if from != to {
				inTime(t, "all are known", func() bool { return knowsMAC(nodes[from], "over", boxes[to]) })
				reachInTime(t, nodes[from], "box", boxes[to])
			}
		}
	}
	return nodes, boxes
}

// keyDrops adds up what nodes have dropped for reasons that have to do with keys.
func keyDrops(nodes map[byte]*Node) map[string]uint64 {
	sum := map[string]uint64{}
	for _, n := range nodes {
		peers, sockets := n.Peers()
		for _, reason := range []string{"no-key", "unknown-spi", "replayed", "bad-icv", "bad-esp", "cleartext"} {
			for _, p := range peers {
				sum[reason] += p.Drops[reason]
			}
			for _, s := range sockets {
				sum[reason] += s.Drops[reason]
			}
		}
	}
	maps.DeleteFunc(sum, func(_ string, n uint64) bool { return n == 0 })
	return sum
}

// TestEncryptedNodeRemoved: who was removed from the swarm is neither sent to nor heard,
// though it has its keys still.
func TestEncryptedNodeRemoved(t *testing.T) {
	watchLeaks(t)
	nodes, boxes := encryptedBoxes(t, 3)
	gone := nodes[3]
	gone.mu.Lock()
	var sa *ipsec.Outbound
	for _, r := range gone.rings {
		keys, _ := r.Peer(nodes[1].member.ID())
		sa = keys.Outbound(0)
	}
	gone.mu.Unlock()
	if sa == nil {
		t.Fatal("node 3 has no key for node 1")
	}
	id := gone.member.ID()
	if err := nodes[1].SwarmNodeRemove(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	for _, last := range []byte{1, 2} {
		inTime(t, "the node is forgotten", func() bool {
			k := nodes[last].Keys()
			return len(k) == 1 && !slices.ContainsFunc(k[0].Peers, func(p KeyPeer) bool { return p.ID == id }) && !knowsMAC(nodes[last], "over", boxes[3])
		})
	}
	before := dropped(nodes[1], testESPPort, "unknown-spi")
	b := make([]byte, 256)
	size, r := ipsec.NewSealer().Seal(sa, b, ipsec.NextUDP, make([]byte, 100))
	if r != frame.NotDropped {
		t.Fatal(r)
	}
	datagram(t, 3, netip.AddrPortFrom(loopback(1), testESPPort), b[:size])
	if !eventually(func() bool { return dropped(nodes[1], testESPPort, "unknown-spi") > before }) {
		t.Error("its packet was not dropped as unknown-spi")
	}
	if reaches(t, nodes[1], "box", boxes[3]) || reaches(t, gone, "box", boxes[1]) {
		t.Error("it is reached, or reaches others")
	}
	reach(t, nodes[1], "box", addr4(boxes[2], "over"), true)
	reach(t, nodes[2], "box", addr4(boxes[1], "over"), true)
}

// TestEncryptedRestart: a daemon that starts again has new keys, and its sandboxes talk
// again soon.
func TestEncryptedRestart(t *testing.T) {
	watchLeaks(t)
	nodes, boxes := encryptedBoxes(t, 3)
	for round := range 3 {
		last := byte(3 - round%2) // workers
		before := nodes[last].Keys()[0].Generation
		c := nodes[last].cfg
		nodes[last].Close()
		nodes[last] = openBeside(t, c)
		began := time.Now()
		for other := range nodes {
			if other != last {
				inTime(t, "the others reach it", func() bool { return reaches(t, nodes[other], "box", boxes[last]) })
				inTime(t, "it reaches the others", func() bool { return reaches(t, nodes[last], "box", boxes[other]) })
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		} else {
			t.Logf("traffic was back after %v", took.Round(time.Millisecond))
		}
		if after := nodes[last].Keys()[0].Generation; after <= before {
			t.Errorf("generation %d follows %d", after, before)
		}
	}
}

// TestEncryptedRotation changes the keys every second under a transfer each way: no
// packet is dropped for a key's sake.
func TestEncryptedRotation(t *testing.T) {
	watchLeaks(t)
	nodes, boxes := encryptedBoxes(t, 2)
	inTime(t, "the keys of the beginning are settled", func() bool { return sendingEpoch(nodes) == "[1 1]" })
	before := keyDrops(nodes)
	s, err := nodes[1].Swarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.KeyRotation = time.Second
	if err := nodes[1].SwarmUpdate(t.Context(), s.Version, s.Spec, cnm.SwarmRotate{}); err != nil {
		t.Fatal(err)
	}
	const seconds = 12
	type result struct{ out, what string }
	results := make(chan result, 4)
	for last, n := range nodes {
		go func() {
			out, _ := execute(t, n, "box", "receive", ":7001")
			results <- result{out, fmt.Sprint("to ", last)}
		}()
		to := netip.AddrPortFrom(addr4(boxes[3-last], "over"), 7001).String()
		go func() {
			out, _ := execute(t, n, "box", "send", to, fmt.Sprint(seconds))
			results <- result{out, fmt.Sprint("to ", 3-last)}
		}()
	}
	sums := map[string]string{}
	for range 4 {
		r := <-results
		if was, ok := sums[r.what]; ok && (was != r.out || !strings.Contains(was, " bytes ")) {
			t.Errorf("%s: %q and %q", r.what, was, r.out)
		}
		sums[r.what] = r.out
	}
	var epochs [2]uint64
	if _, err := fmt.Sscanf(sendingEpoch(nodes), "[%d %d]", &epochs[0], &epochs[1]); err != nil || min(epochs[0], epochs[1]) < seconds-3 {
		t.Errorf("after %d s the nodes send by epochs %v, %v", seconds, epochs, err)
	}
	after := keyDrops(nodes)
	for reason, count := range after {
		if count -= before[reason]; count > 0 {
			t.Errorf("%d packets dropped: %s", count, reason)
		}
	}
	t.Logf("%v; before %v, after %v; epochs %v", sums, before, after, epochs)
}

// sendingEpoch lists what epochs nodes send by to their peers.
func sendingEpoch(nodes map[byte]*Node) string {
	var epochs []uint64
	for _, n := range nodes {
		for _, k := range n.Keys() {
			for _, p := range k.Peers {
				for _, pair := range p.Pairs {
					if pair.State == ipsec.Sending {
						epochs = append(epochs, pair.Epoch)
					}
				}
			}
		}
	}
	return fmt.Sprint(epochs)
}
