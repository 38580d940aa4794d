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
	clients := func() (worker int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, lp := range d.ports {
			if lp.network == over.ID && lp.device != nil {
				give(d, lp.charges[0], worker%2)
				worker++
			}
		}
		return worker
	}
	far := nodes[1].path
	if n := clients(); n != 2 || len(far.underlay.esp4.charges) != 2 {
		t.Fatalf("%d ports, %d readers", n, len(far.underlay.esp4.charges))
	}
	received := func() (frames [2]uint64) {
		for i, r := range far.underlay.esp4.Readers() {
			_, frames[i] = r.Received()
		}
		return frames
	}
	for turn := range 2 {
		// Nodes balance once a second, and may take apart what was given just now.
		inTime(t, fmt.Sprintf("turn %d: each client's frames come by a reader of their own", turn), func() bool {
			clients()
			far.mu.Lock()
			for i, c := range far.underlay.esp4.charges {
				give(far, c, (i+turn)%2)
			}
			far.mu.Unlock()
			var by [2]int // by client: the reader that most of its frames came by
			for client := range by {
				before := received()
				for range 3 {
					if !ask(client) {
						t.Fatalf("client %d has no answer", client)
					}
				}
				after := received()
				first, second := after[0]-before[0], after[1]-before[1]
				if by[client] = -1; first > 3*second {
					by[client] = 0
				} else if second > 3*first {
					by[client] = 1
				}
			}
			return by == [2]int{0, 1} || by == [2]int{1, 0}
		})
	}
}
