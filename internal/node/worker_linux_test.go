package node

import (
	"fmt"
	"testing"
	"time"

	"weft/internal/cnm"
)

func TestCandidate(t *testing.T) {
	w := []*worker{{id: 0}, {id: 1}}
	for _, c := range []struct {
		name  string
		rates []uint64 // of ports of the busy worker
		idle  uint64   // load of the other
		want  int      // index of the port that moves, -1 for none
	}{
		{"quiet", []uint64{100, 200}, 0, -1},
		{"one port makes all of it", []uint64{90000}, 0, -1},
		{"two alike", []uint64{50000, 50000}, 0, 0},
		{"the smaller one evens out more", []uint64{90000, 10000}, 60000, 1},
		{"nearly even", []uint64{50000, 5000}, 50000, -1},
		{"the middle one", []uint64{10000, 40000, 90000}, 0, 2},
	} {
		rate := make(map[*livePort]uint64)
		var ports []*livePort
		sum := uint64(0)
		for i, r := range c.rates {
			lp := &livePort{worker: w[0], key: portKey{ifName: fmt.Sprint(i)}}
			ports = append(ports, lp)
			rate[lp] = r
			sum += r
		}
		rate[&livePort{worker: w[1]}] = c.idle
		got := candidate(rate, 0, sum-c.idle)
		switch {
		case c.want < 0 && got != nil, c.want >= 0 && (got == nil || rate[got] != c.rates[c.want]):
			t.Errorf("%s: %+v moves, want %d of %v", c.name, got, c.want, ports)
		}
	}
}

// Ports go from worker to worker while frames flow, and nothing breaks.
func TestMovingPorts(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.11.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		moved := 0
		for {
			select {
			case <-stop:
				done <- moved
				return
			case <-time.After(200 * time.Microsecond):
			}
			n.path.mu.Lock()
			for _, lp := range n.path.ports {
				from := lp.worker
				from.drop(lp)
				if err := n.path.workers[1-from.id].take(lp); err != nil {
					t.Error(err)
				}
				moved++
			}
			n.path.mu.Unlock()
		}
	}()
	for range 10 {
		reach(t, n, "tulip", addr4(rose, "front"), true)
	}
	close(stop)
	if moved := <-done; moved < 100 {
		t.Errorf("only %d moves", moved)
	}
	for _, w := range n.path.workers {
		if len(*w.ports.Load()) > 2 {
			t.Errorf("worker %d has a table of %d places", w.id, len(*w.ports.Load()))
		}
	}
}
