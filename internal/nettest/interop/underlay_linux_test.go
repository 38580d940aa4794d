package interop

import (
	"strings"
	"testing"
	"time"

	"weft/internal/node"
)

// TestUnderlay does to the underlay what happens to networks. Whatever it is, the
// traffic resumes by itself.
func TestUnderlay(t *testing.T) {
	isolated(t, func(t *testing.T) {
		n := kernelPair(t)
		for _, c := range []struct {
			name string
			test func(*testing.T, *testNode)
		}{
			{"MTU", mtuFollows},
			{"peer gone", peerGone},
			{"interface down", interfaceDown},
			{"address moves", addressMoves},
		} {
			t.Run(c.name, func(t *testing.T) {
				c.test(t, n)
				if _, s := n.Peers(); s[0].SendRung != "gso" {
					t.Errorf("the socket sends by %s, expected gso as before", s[0].SendRung)
				}
			})
		}
	})
}

// transfer sends so many megabytes from the box, to be awaited. It is under way
// when this returns.
func transfer(t *testing.T, n *testNode, megabytes string) (await func()) {
	t.Helper()
	id, err := n.ExecCreate(t.Context(), "box", node.ExecSpec{Cmd: []string{weft(), "tool", "send", "-m", megabytes, far4}, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	before := n.peer(t).TxBytes
	eventually(t, 10*time.Second, "the transfer is under way", func() bool { return n.peer(t).TxBytes > before+1<<20 })
	return func() {
		t.Helper()
		timer := time.AfterFunc(patience, func() { s.Close() })
		defer timer.Stop()
		var out strings.Builder
		for {
			_, data, err := s.Next()
			if err != nil {
				break
			}
			out.Write(data)
		}
		if info, err := n.ExecInspect(id); err != nil || info.ExitCode == nil || *info.ExitCode != 0 {
			t.Errorf("the transfer failed: %+v, %v, %s", info, err, &out)
		}
	}
}

// pings waits until the box reaches the far station.
func pings(t *testing.T, n *testNode, within time.Duration) {
	t.Helper()
	eventually(t, within, "the far station answers", func() bool {
		_, ok := n.box(t, "ping", "-c", "1", "-W", "1", far4)
		return ok
	})
}

// silent checks that the box does not reach it.
func silent(t *testing.T, n *testNode) {
	t.Helper()
	if out, ok := n.box(t, "ping", "-c", "1", "-W", "0.5", far4); ok {
		t.Errorf("the far station answers:\n%s", out)
	}
}

// mtuFollows lowers and raises the underlay's MTU under a transfer.
func mtuFollows(t *testing.T, n *testNode) {
	await := transfer(t, n, "200")
	for _, c := range []struct {
		underlay string
		want     int
	}{{"1400", 1350}, {"1500", 1450}} {
		ip(t, `link set u0 mtu `+c.underlay+`
			-n far link set u1 mtu `+c.underlay)
		began := time.Now()
		eventually(t, 3*time.Second, "tunnel and interface have the new MTU", func() bool {
			v, err := n.Network("over")
			return err == nil && v.MTU == c.want && n.peer(t).MTU == c.want && n.endpoint(t).MTU == c.want
		})
		t.Logf("underlay of %s: followed after %v", c.underlay, time.Since(began))
		if out := n.mustBox(t, "ip", "link", "show", "eth0"); !strings.Contains(out, "mtu "+map[int]string{1350: "1350", 1450: "1450"}[c.want]+" ") {
			t.Errorf("the box's interface did not follow: %s", out)
		}
		n.mustBox(t, weft(), "tool", "send", "-m", "5", far4)
		must(t, in("far", weft(), "tool", "send", "-m", "5", n.endpoint(t).IPv4.Addr().String())...)
	}
	await()
}

// peerGone takes the other VTEP away and brings it back.
func peerGone(t *testing.T, n *testNode) {
	await := transfer(t, n, "50")
	ip(t, "-n far link set vx0 down")
	silent(t, n)
	ip(t, "-n far link set vx0 up")
	pings(t, n, 5*time.Second)
	await()
	ip(t, "-n far link del vx0")
	silent(t, n)
	kernelDevice(t, "local 10.9.0.2 remote 10.9.0.1")
	pings(t, n, 5*time.Second)
}

// interfaceDown takes the node's own way out.
func interfaceDown(t *testing.T, n *testNode) {
	await := transfer(t, n, "50")
	ip(t, "link set u0 down")
	before := n.peer(t).Drops["write-failed"]
	silent(t, n)
	if now := n.peer(t).Drops["write-failed"]; now == before {
		t.Errorf("nothing was counted as write-failed: %+v", n.peer(t))
	}
	ip(t, "link set u0 up")
	pings(t, n, 5*time.Second)
	await()
}

// addressMoves takes the address the VTEP is bound to off the host, and puts it on
// again.
func addressMoves(t *testing.T, n *testNode) {
	await := transfer(t, n, "50")
	ip(t, "addr del 10.9.0.1/24 dev u0")
	silent(t, n)
	if peers, _ := n.Peers(); len(peers) != 1 {
		t.Errorf("the tunnel is gone: %+v", peers)
	}
	ip(t, "addr add 10.9.0.1/24 dev u0")
	pings(t, n, 5*time.Second)
	await()
}
