package vswitch

import (
	"fmt"
	"testing"

	"weft/internal/frame"
)

// perPacket reports the time of one wire frame of n packets done.
func perPacket(b *testing.B, n uint64, unit string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), unit)
}

// A readySource hands over frames that lie in its memory already, as a socket's
// and a TAP's do: only their metadata is made anew. As a queue it takes what
// comes, without any offload.
type readySource struct {
	batch *frame.Batch
	ports []uint32 // of the frames, in turn
	next  int
	taken int
}

func ready(frames ...sent) *readySource {
	s := &readySource{batch: frame.NewBatch()}
	for _, f := range frames {
		s.batch.Append(f.data).Offload = f.off
	}
	return s
}

func (s *readySource) ReadBatch(b *frame.Batch) (int, error) {
	for i := range s.batch.Len() {
		f := s.batch.At(i)
		c := b.Commit(0)
		c.Wrap(f.Head(frame.Headroom), frame.Headroom)
		c.Offload = f.Offload
		if len(s.ports) > 0 {
			c.In = s.ports[s.next]
			if s.next++; s.next == len(s.ports) {
				s.next = 0
			}
		}
	}
	return s.batch.Len(), nil
}

func (s *readySource) WriteBatch(fs []*frame.Frame) (int, error) {
	s.taken += len(fs)
	return len(fs), nil
}

func (s *readySource) Caps() frame.Caps { return 0 }

func benchOutbound(b *testing.B, unit string, in ...sent) {
	n := newNet(b, DomainConfig{})
	a, err := n.sw.AddPort(PortConfig{Name: "a", Domain: n.domain}, ready(in...))
	if err != nil {
		b.Fatal(err)
	}
	out := ready()
	p, err := n.sw.AddPort(PortConfig{Name: "vtep", Domain: n.domain, Horizon: 1, MTU: 1450}, out)
	if err != nil {
		b.Fatal(err)
	}
	n.domain.SetStatic(0, mac(3), p)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.w.Turn(a); err != nil {
			b.Fatal(err)
		}
	}
	perPacket(b, uint64(out.taken), unit)
}

// BenchmarkOutboundSegments is what comes between a TAP's read and a tunnel's
// write: superframes of 45 segments of 1,398 bytes (1,450 as frames) cut, summed,
// handed over.
func BenchmarkOutboundSegments(b *testing.B) {
	benchOutbound(b, "ns/segment", tcpSuper(1, 45, 1398))
}

// BenchmarkOutboundDatagrams is the same for 64 datagrams of 1,300 bytes whose
// checksums are unfinished.
func BenchmarkOutboundDatagrams(b *testing.B) {
	var in []sent
	for i := range frame.MaxBatch {
		in = append(in, datagram(i, 1300, true))
	}
	benchOutbound(b, "ns/frame", in...)
}

// BenchmarkInboundMerge is what comes after a tunnel's read: 45 segments of
// 1,398 bytes, verified and joined into one superframe.
func BenchmarkInboundMerge(b *testing.B) {
	n, a, t1, _ := overlayNet(b, DomainConfig{})
	a.caps, a.quiet = frame.CapCsum|frame.CapTSO4, true
	src := ready()
	src.ports = []uint32{t1.port.slot}
	for _, f := range stream(45, 1398) {
		src.batch.Append(f)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.w.Inbound(src); err != nil {
			b.Fatal(err)
		}
	}
	s := a.port.Stats()
	if s.OutPackets != 45*s.OutFrames {
		b.Fatalf("%d packets in %d frames", s.OutPackets, s.OutFrames)
	}
	perPacket(b, s.OutPackets, "ns/frame")
}

// BenchmarkRemoteMACs looks up and learns 1,000 remote addresses, on one tunnel
// and on 64.
func BenchmarkRemoteMACs(b *testing.B) {
	for _, vteps := range []int{1, 64} {
		remote := func(i int) frame.MAC { return frame.MAC{2, 0, 0, 9, byte(i >> 8), byte(i)} }
		b.Run(fmt.Sprintf("out %d", vteps), func(b *testing.B) {
			n, _, _ := remoteNet(b, vteps, remote)
			var queues [16]*Port
			for k := range queues {
				src := ready()
				for i := range frame.MaxBatch {
					src.batch.Append(raw(b, mac(byte(200+k)), remote((k*frame.MaxBatch+i)%1000)))
				}
				p, err := n.sw.AddPort(PortConfig{Name: "src", Domain: n.domain}, src)
				if err != nil {
					b.Fatal(err)
				}
				queues[k] = p
			}
			b.ReportAllocs()
			at, frames := 0, 0
			for b.Loop() {
				k, err := n.w.Turn(queues[at%len(queues)])
				if err != nil {
					b.Fatal(err)
				}
				frames += k
				at++
			}
			perPacket(b, uint64(frames), "ns/frame")
		})
		b.Run(fmt.Sprintf("in %d", vteps), func(b *testing.B) {
			n, a, slots := remoteNet(b, vteps, remote)
			var srcs [16]*readySource
			for k := range srcs {
				srcs[k] = ready()
				for i := range frame.MaxBatch {
					m := (k*frame.MaxBatch + i) % 1000
					srcs[k].batch.Append(raw(b, remote(m), mac(2)))
					srcs[k].ports = append(srcs[k].ports, slots[m%vteps])
				}
			}
			at := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := n.w.Inbound(srcs[at%len(srcs)]); err != nil {
					b.Fatal(err)
				}
				at++
			}
			perPacket(b, a.port.Stats().OutFrames, "ns/frame")
			if n.domain.Stats().Moves > 1000 {
				b.Fatal("addresses move")
			}
		})
	}
}

// remoteNet returns a network on which 1,000 addresses are known behind so many
// tunnels.
func remoteNet(b *testing.B, vteps int, remote func(int) frame.MAC) (n *testNet, a *cable, slots []uint32) {
	n = newNet(b, DomainConfig{})
	a = n.add("a", PortConfig{MAC: mac(2)})
	a.quiet = true
	for i := range vteps {
		c := n.add(fmt.Sprint("vtep", i), PortConfig{Horizon: 1})
		c.quiet = true
		slots = append(slots, c.port.slot)
	}
	o := &overlay{}
	for i := range 1000 {
		o.in = append(o.in, arrival{slots[i%vteps], raw(b, remote(i), mac(2))})
	}
	for len(o.in) > 0 {
		if _, err := n.w.Inbound(o); err != nil {
			b.Fatal(err)
		}
	}
	return n, a, slots
}
