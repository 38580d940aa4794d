package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"weft/internal/cnm"
)

// TestEncryptedSpread: what two workers of one peer seal is opened by two readers, which
// two workers serve, and may change.
func TestEncryptedSpread(t *testing.T) {
	watchLeaks(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := map[byte]*Node{}
	for last := byte(1); last <= 2; last++ {
		c := encryptedConfig(t, last)
		c.Workers = 2
		nodes[last] = openBeside(t, c)
		nw := overlayNetwork(last, 1, 2)
		nw.Options["encrypted"], nw.Options["weft.psk-file"] = "", secret
		mustNetwork(t, nodes[last], nw)
	}
	server := mustRun(t, nodes[1], cnm.SandboxSpec{Name: "server", Cmd: program("serve", ":7000"), Networks: on("over")})
	for i := range 2 {
		mustRun(t, nodes[2], cnm.SandboxSpec{Name: fmt.Sprint("client", i), Networks: on("over")})
	}
	ask := func(i int) bool {
		_, code := execute(t, nodes[2], fmt.Sprint("client", i), "ask", netip.AddrPortFrom(addr4(server, "over"), 7000).String(), "hello")
		return code == 0
	}
	inTime(t, "there are keys", func() bool { return ask(0) })

	give := func(d *dataPath, c *charge, worker int) {
		c.worker.drop(c)
		if err := d.workers[worker].take(c); err != nil {
			t.Error(err)
		}
	}
	// Each client's port has a worker of its own, and so has each reader of the server's node.
	d := nodes[2].path
	over, err := nodes[2].Network("over")
	if err != nil {
		t.Fatal(err)
	}
	worker := 0
	d.mu.Lock()
	for _, lp := range d.ports {
		if lp.network == over.ID && lp.device != nil {
			give(d, lp.charges[0], worker%2)
			worker++
		}
	}
	d.mu.Unlock()
	if d = nodes[1].path; worker != 2 || len(d.underlay.esp4.charges) != 2 {
		t.Fatalf("%d ports, %d readers", worker, len(d.underlay.esp4.charges))
	}
	received := func() (frames [2]uint64) {
		for i, r := range d.underlay.esp4.Readers() {
			_, frames[i] = r.Received()
		}
		return frames
	}
	for turn := range 2 {
		d.mu.Lock()
		for i, c := range d.underlay.esp4.charges {
			give(d, c, (i+turn)%2)
		}
		d.mu.Unlock()
		var by [2]int // by client: the reader that its frames came by
		for client := range by {
			before := received()
			if !ask(client) {
				t.Fatalf("client %d has no answer", client)
			}
			after := received()
			// A connection's frames, and not one of its neighbour's few others.
			by[client] = -1
			for i := range after {
				if after[i]-before[i] >= 4 {
					by[client] = i
				}
			}
		}
		if by != [2]int{0, 1} && by != [2]int{1, 0} {
			t.Errorf("turn %d: the clients' frames came by the readers %v", turn, by)
		}
	}
}
