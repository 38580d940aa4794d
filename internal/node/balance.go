package node

import (
	"cmp"
	"slices"
)

// Theory of operation: balance
//
// Ports are kept together: a flow's frames and its acknowledgements go through
// two ports, and on one worker they share caches and wake-ups (measured: 1 TCP
// stream is a tenth faster on one worker than on two). Only a worker with much to
// do gives ports away. Once a second the load of each worker is summed up from
// its ports' counters, and from the busiest to the idlest move as many ports, the
// largest first, as make up half the difference. A port that is most of its
// worker's load stays where it is, and so does what is too little to matter.
//
// A socket by which several workers' packets come has several readers, which are ports
// like others here: of two flows that a peer seals by two workers, one moves away when
// both are much to do.
//
// A port with several queues (weft.queues) is spread already: its queues stay where
// they are, and its load counts for each of their workers in equal parts.

const (
	// frameCost is what a frame costs besides its bytes, in bytes: reading and
	// forwarding one of 64 B takes as long as copying this much more.
	frameCost = 1500
	// loadFloor is the load of a worker, in cost per second, below which it keeps
	// all its ports: about 2.5 Gbit/s or 200,000 small frames.
	loadFloor = 300 << 20
)

// A portLoad is what one charge cost its worker in the last second.
type portLoad struct {
	*charge
	cost uint64
}

// balance is called once a second. The caller holds d.mu.
func (d *dataPath) balance() {
	for _, w := range d.workers {
		w.load = 0
	}
	loads := make(map[*worker][]portLoad, len(d.workers))
	for _, c := range d.charges() {
		total := c.spent()
		cost := total - c.cost
		c.cost = total
		c.worker.load += cost
		if c.of == 1 {
			loads[c.worker] = append(loads[c.worker], portLoad{c, cost})
		}
	}
	busy := slices.MaxFunc(d.workers, func(a, b *worker) int { return cmp.Compare(a.load, b.load) })
	idle := d.idlest(0, 1)
	for _, l := range moves(loads[busy], busy.load, idle.load) {
		busy.drop(l.charge)
		if idle.take(l.charge) != nil && busy.take(l.charge) != nil {
			busy.failed() // the keeper finds it dead
			return
		}
		busy.load, idle.load = busy.load-l.cost, idle.load+l.cost
	}
}

// moves chooses which of the busiest worker's ports go to the idlest.
func moves(ports []portLoad, busy, idle uint64) []portLoad {
	if busy < loadFloor || busy <= idle {
		return nil
	}
	slices.SortFunc(ports, func(a, b portLoad) int {
		return cmp.Or(cmp.Compare(b.cost, a.cost), cmp.Compare(a.serial, b.serial))
	})
	gap := busy - idle
	room := gap / 2
	var out []portLoad
	for _, p := range ports {
		if p.cost > 0 && p.cost <= room {
			out = append(out, p)
			room -= p.cost
		}
	}
	if gap/2-room < gap/8 {
		return nil
	}
	return out
}

// serve gives each charge of a port to a worker, or none.
func (d *dataPath) serve(lp *livePort) error {
	for i, c := range lp.charges {
		if err := d.idlest(c.queue, c.of).take(c); err != nil {
			for _, given := range lp.charges[:i] {
				given.worker.drop(given)
			}
			return err
		}
	}
	return nil
}

// idlest returns the worker with the least load in the last second that is to
// serve a queue of a port with so many; among idle ones the first. One that broke
// is idle, and of no use. Of several queues a worker serves the one that it writes
// to itself (vswitch.Port): the kernel answers a flow in the queue that the flow
// came by, so both directions stay with one worker.
func (d *dataPath) idlest(queue, queues int) *worker {
	best := d.workers[queue%len(d.workers)]
	for _, w := range d.workers {
		if w.id%queues == queue && (best.broken() || w.load < best.load && !w.broken()) {
			best = w
		}
	}
	return best
}
