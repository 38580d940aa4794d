package node

import (
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cnm"
)

func TestMoves(t *testing.T) {
	const m = 1 << 20
	many := make([]uint64, 100)
	for i := range many {
		many[i] = 10 * m
	}
	for _, c := range []struct {
		name  string
		costs []uint64 // of the busiest worker's ports
		idle  uint64   // load of the other
		want  int      // ports that move
		sum   uint64   // what they cost
	}{
		{"quiet", []uint64{100 * m, 100 * m}, 0, 0, 0},
		{"one port makes all of it", []uint64{9000 * m}, 0, 0, 0},
		{"a stream and its acknowledgements stay together", []uint64{9000 * m, 200 * m}, 0, 0, 0},
		{"two streams part", []uint64{5000 * m, 5000 * m, 100 * m, 100 * m}, 0, 2, 5100 * m},
		{"two streams have parted", []uint64{5000 * m, 100 * m}, 5100 * m, 0, 0},
		{"the middle one evens out", []uint64{6000 * m, 3000 * m}, 3000 * m, 1, 3000 * m},
		{"many small ones", many, 0, 50, 500 * m},
		{"even", []uint64{500 * m, 500 * m}, 1000 * m, 0, 0},
	} {
		var ports []portLoad
		busy := uint64(0)
		for i, cost := range c.costs {
			ports = append(ports, portLoad{&charge{serial: uint32(i)}, cost})
			busy += cost
		}
		sum := uint64(0)
		got := moves(ports, busy, c.idle)
		for _, p := range got {
			sum += p.cost
		}
		if len(got) != c.want || sum < c.sum || sum > c.sum+c.sum/10 {
			t.Errorf("%s: %d ports of %d MiB move, want %d of %d", c.name, len(got), sum/m, c.want, c.sum/m)
		}
	}
}

// Ports go from worker to worker while frames flow, and nothing breaks.
func TestMovingPorts(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.11.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	stop, done := make(chan struct{}), make(chan struct{})
	var moved atomic.Int32
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			n.path.mu.Lock()
			for _, lp := range n.path.ports {
				c := lp.charges[0]
				from := c.worker
				from.drop(c)
				if err := n.path.workers[1-from.id].take(c); err != nil {
					t.Error(err)
				}
				moved.Add(1)
			}
			n.path.mu.Unlock()
		}
	}()
	for i := 0; i < 10 || moved.Load() < 100; i++ {
		reach(t, n, "tulip", addr4(rose, "front"), true)
	}
	close(stop)
	<-done
	for _, w := range n.path.workers {
		if len(*w.ports.Load()) > 3 { // and the exit
			t.Errorf("worker %d has a table of %d places", w.id, len(*w.ports.Load()))
		}
	}
}
