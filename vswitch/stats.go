package vswitch

import (
	"sync/atomic"

	"weft/internal/frame"
)

// counters are one worker's counts for one port. Only that worker writes them,
// once per batch; anybody reads.
type counters struct {
	inFrames, inPackets, inBytes    atomic.Uint64
	forwarded, consumed, kept       atomic.Uint64
	inDropped                       [frame.Reasons]atomic.Uint64
	outFrames, outPackets, outBytes atomic.Uint64
	outDropped                      [frame.Reasons]atomic.Uint64
	_                               [64]byte // the next worker's lie on other cache lines
}

// Stats are a port's counters since it was added. Frames counts what crossed the
// port's queue, superframes as one; Packets counts the wire frames they stand
// for; Bytes the bytes of the former, without frame check sequences.
type Stats struct {
	InFrames, InPackets, InBytes uint64
	// Every frame in is one of these; Dropped by reason.
	Forwarded, Consumed, Kept uint64
	Dropped                   [frame.Reasons]uint64
	// Frames out, and those that were to leave here and did not, by reason.
	OutFrames, OutPackets, OutBytes uint64
	OutDropped                      [frame.Reasons]uint64
}

// Stats sums the counters of all workers.
func (p *Port) Stats() Stats {
	var s Stats
	for i := range p.counters {
		c := &p.counters[i]
		s.InFrames += c.inFrames.Load()
		s.InPackets += c.inPackets.Load()
		s.InBytes += c.inBytes.Load()
		s.Forwarded += c.forwarded.Load()
		s.Consumed += c.consumed.Load()
		s.Kept += c.kept.Load()
		s.OutFrames += c.outFrames.Load()
		s.OutPackets += c.outPackets.Load()
		s.OutBytes += c.outBytes.Load()
		for r := range c.inDropped {
			s.Dropped[r] += c.inDropped[r].Load()
			s.OutDropped[r] += c.outDropped[r].Load()
		}
	}
	return s
}

// SwitchStats are the counters of what belongs to no port.
type SwitchStats struct {
	// Orphans are the frames from the overlay that were dropped, as port-down,
	// because the port they came through had been removed.
	Orphans uint64
}

// Stats sums the switch's own counters over all workers.
func (s *Switch) Stats() (t SwitchStats) {
	for _, w := range *s.workers.Load() {
		t.Orphans += w.orphans.Load()
	}
	return t
}

// DroppedTotal is the number of frames in that were dropped for any reason.
func (s *Stats) DroppedTotal() (n uint64) {
	for _, d := range s.Dropped {
		n += d
	}
	return n
}

// A tally counts one batch before it is added to the port's counters.
type tally struct {
	packets, bytes            uint64
	forwarded, consumed, kept uint64
}

func (t *tally) read(f *frame.Frame) {
	t.bytes += uint64(f.Len())
}

// settle ends frames from to to-1 of the batch, which came from one port: those
// that no port took after all are dropped, and the verdicts are counted there.
func (w *Worker) settle(in *Port, b *frame.Batch, from, to int) {
	c := &in.counters[w.index]
	t := &w.tally
	for i := from; i < to; i++ {
		f := b.At(i)
		t.packets += packets(f)
		if f.Verdict == frame.Forwarded && f.Copies == 0 {
			f.Verdict = frame.Dropped
		}
		switch f.Verdict {
		case frame.Forwarded:
			t.forwarded++
		case frame.Consumed:
			t.consumed++
		case frame.Kept:
			t.kept++
		case frame.Dropped:
			c.inDropped[f.Reason].Add(1)
		}
	}
	c.inFrames.Add(uint64(to - from))
	c.inPackets.Add(t.packets)
	c.inBytes.Add(t.bytes)
	add(&c.forwarded, t.forwarded)
	add(&c.consumed, t.consumed)
	add(&c.kept, t.kept)
}

// add skips the atomic write when there is nothing to add.
func add(c *atomic.Uint64, n uint64) {
	if n != 0 {
		c.Add(n)
	}
}

// packets returns the number of wire frames f stands for.
func packets(f *frame.Frame) uint64 {
	if f.Offload.GSO == frame.GSONone || f.Offload.Size == 0 {
		return 1
	}
	n := f.Len() - int(f.View.Payload)
	if n <= 0 || f.View.Payload == 0 {
		return 1
	}
	size := int(f.Offload.Size)
	return uint64((n + size - 1) / size)
}
