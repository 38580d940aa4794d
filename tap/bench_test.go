package tap

import (
	"testing"
	"time"

	"weft/internal/frame"
)

// perFrame reports the time for each of n frames per iteration.
func perFrame(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/frame")
}

// BenchmarkWrite writes small frames that the kernel's stack throws away.
func BenchmarkWrite(b *testing.B) {
	d := openIn(b, newSpace(b), Options{}, "")
	batch := frame.NewBatch()
	var list []*frame.Frame
	for range frame.MaxBatch {
		list = append(list, batch.Append(broadcast().Bytes()))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Queues()[0].WriteBatch(list); err != nil {
			b.Fatal(err)
		}
	}
	perFrame(b, len(list))
}

// BenchmarkRead reads small frames that wait in the queue. Only ns/frame is the
// reading alone: stopping the timer for the filling costs more than the work.
func BenchmarkRead(b *testing.B) {
	s := newSpace(b)
	d := openIn(b, s, Options{}, "")
	q, batch := d.Queues()[0], frame.NewBatch()
	drain(b, q, batch)
	var send func(int)
	var end func()
	s.do(func() { send, end = rawSender(b, d.Name()) })
	defer end()
	b.ReportAllocs()
	var reading time.Duration
	for b.Loop() {
		send(frame.MaxBatch)
		batch.Reset()
		start := time.Now()
		if n, err := q.ReadBatch(batch); err != nil || n < frame.MaxBatch {
			b.Fatalf("%d frames, %v", n, err)
		}
		reading += time.Since(start)
	}
	b.ReportMetric(float64(reading.Nanoseconds())/float64(b.N)/frame.MaxBatch, "ns/frame")
}

// BenchmarkLook asks the poller whether anything is there.
func BenchmarkLook(b *testing.B) {
	p, err := NewPoller()
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	ready := make([]uint64, 16)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Wait(ready, 0); err != nil {
			b.Fatal(err)
		}
	}
}
