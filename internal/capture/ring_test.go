package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/frame"
)

func wrap(b []byte) *frame.Frame {
	var f frame.Frame
	f.Wrap(b, 0)
	return &f
}

func TestRingKeepsWhatItIsGiven(t *testing.T) {
	r := NewRing(1024, nil, 100)
	for i := range 200 { // many times around
		f := wrap(bytes.Repeat([]byte{byte(i)}, i))
		f.Verdict, f.Reason = frame.Dropped, frame.Isolated
		f.Offload = frame.Offload{Flags: 1, GSO: frame.GSOTCP4, HdrLen: 2, Size: 3, CsumStart: 4, CsumOffset: 5}
		r.Put(int64(i), uint32(i+1), Out, f)
		rec, ok := r.Next()
		if !ok {
			t.Fatalf("record %d did not arrive", i)
		}
		if !bytes.Equal(rec.Data, f.Bytes()[:min(i, 100)]) || rec.OrigLen != i || rec.Time != int64(i) || rec.Port != uint32(i+1) ||
			rec.Dir != Out || rec.Verdict != frame.Dropped || rec.Reason != frame.Isolated || rec.Offload != f.Offload {
			t.Fatalf("record %d came back as %+v", i, rec)
		}
	}
	if _, ok := r.Next(); ok {
		t.Error("an empty ring gave a record")
	}
}

func TestRingFull(t *testing.T) {
	r := NewRing(1024, nil, 0) // 16 lines
	f := wrap(make([]byte, 24+64))
	for range 20 {
		r.Put(0, 0, In, f)
	}
	n := 0
	for _, ok := r.Next(); ok; _, ok = r.Next() {
		n++
	}
	if n != 8 || r.Drops() != 12 {
		t.Errorf("%d kept and %d dropped of 20, expected 8 and 12", n, r.Drops())
	}
	r.Put(0, 0, In, wrap(make([]byte, 1024)))
	if _, ok := r.Next(); ok || r.Drops() != 13 {
		t.Error("a frame longer than the ring was not dropped")
	}
}

// TestRingConcurrent has four producers race one consumer: every record is
// either read whole, in its producer's order, or counted as dropped.
func TestRingConcurrent(t *testing.T) {
	const producers, each = 4, 20000
	r := NewRing(16<<10, nil, 0)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			b := make([]byte, 300)
			for i := range each {
				n := 8 + i%290
				for j := range b[:n] {
					b[j] = byte(p*7 + i)
				}
				binary.LittleEndian.PutUint32(b, uint32(i))
				r.Put(int64(i), uint32(p), In, wrap(b[:n]))
			}
		})
	}
	go func() { wg.Wait(); r.Close() }()
	var read uint64
	next := [producers]int64{}
	for r.Wait(context.Background()) == nil {
		rec, ok := r.Next()
		if !ok {
			t.Fatal("Wait returned without a record")
		}
		read++
		if rec.Time < next[rec.Port] {
			t.Fatalf("producer %d: record %d after %d", rec.Port, rec.Time, next[rec.Port]-1)
		}
		next[rec.Port] = rec.Time + 1
		if len(rec.Data) != 8+int(rec.Time)%290 || binary.LittleEndian.Uint32(rec.Data) != uint32(rec.Time) {
			t.Fatalf("producer %d: record %d is torn", rec.Port, rec.Time)
		}
		for _, c := range rec.Data[4:] {
			if c != byte(int64(rec.Port)*7+rec.Time) {
				t.Fatalf("producer %d: record %d is torn", rec.Port, rec.Time)
			}
		}
	}
	if read+r.Drops() != producers*each || read == 0 {
		t.Errorf("%d read and %d dropped of %d", read, r.Drops(), producers*each)
	}
}

// TestRingHeldUp: positions that a producer loaded long ago do not make it take a
// ring with room for a full one.
func TestRingHeldUp(t *testing.T) {
	r := NewRing(1024, nil, 0) // 16 lines
	f := wrap(make([]byte, 8))
	for range 40 {
		r.Put(0, 0, In, f)
		r.Next()
	}
	r.release()
	for _, c := range []struct {
		name           string
		head, at, need uint64
		ok, full       bool
	}{
		{"both old", 3, 4, 1, false, false},
		{"old tail", 40, 20, 1, false, false},
		{"old head", 20, 40, 1, false, false},
		{"as they are", 40, 40, 16, true, false},
		{"full", 40, 56, 1, false, true},
	} {
		if ok, full := r.take(c.head, c.at, c.need); ok != c.ok || full != c.full {
			t.Errorf("%s: taken %v, full %v", c.name, ok, full)
		}
	}
}

func TestRingWait(t *testing.T) {
	r := NewRing(1024, nil, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, expected %v", err, context.DeadlineExceeded)
	}
	r.Put(0, 0, In, wrap(udp))
	r.Close()
	r.Put(0, 0, In, wrap(udp))
	if err := r.Wait(t.Context()); err != nil {
		t.Errorf("closed, one record left: %v", err)
	}
	r.Next()
	if err := r.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v, expected %v", err, os.ErrClosed)
	}
}

func TestPutAllocatesNothing(t *testing.T) {
	filter, err := ParseFilter("ip and udp port 53 and not (src net 192.168.0.0/16 or ether host 02:00:00:00:00:01) or dropped")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRing(1<<20, filter, 0)
	f := wrap(udp)
	if n := testing.AllocsPerRun(1000, func() { r.Put(1, 2, In, f); r.Next() }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
	if !filter.Match(f) {
		t.Error("the filter did not take the frame: nothing was tested")
	}
}

func TestStream(t *testing.T) {
	r := NewRing(4096, nil, 20)
	f := wrap(udp)
	f.Verdict = frame.Forwarded
	for port := range uint32(3) {
		r.Put(int64(port)+1, port, Direction(port%2), f)
	}
	for r.Drops() == 0 {
		r.Put(9, 0, In, f)
	}
	r.Close()
	var asked []uint32
	var b bytes.Buffer
	s := Stream{Ring: r, Appl: "weft", Ports: []uint32{7}, Name: func(p uint32) string {
		asked = append(asked, p)
		return string(rune('a' + p))
	}}
	if err := s.Run(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	have, err := readAll(t, b.Bytes())
	if err != nil || len(have) < 5 || !slices.Equal(asked, []uint32{7, 0, 1, 2}) || len(s.all) != 4 {
		t.Fatalf("%d records on %d interfaces, asked for %v, %v", len(have), len(s.all), asked, err)
	}
	if have[2] != (got{3, len(udp), string(udp[:20]), 0}) {
		t.Errorf("third record %v", have[2])
	}
	if !bytes.Contains(b.Bytes(), []byte("ifdrop counts all interfaces")) {
		t.Error("drops are not explained")
	}
}

func TestStreamEnds(t *testing.T) {
	r := NewRing(4096, nil, 0)
	for range 5 {
		r.Put(1, 0, In, wrap(udp))
	}
	name := func(uint32) string { return "a" }
	var b bytes.Buffer
	if err := (&Stream{Ring: r, Name: name, Limit: 2}).Run(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if have, err := readAll(t, b.Bytes()); len(have) != 2 || err != nil {
		t.Errorf("%d records, %v; expected the limit of 2", len(have), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Reset()
	if err := (&Stream{Ring: r, Name: name}).Run(ctx, &b); err != nil {
		t.Errorf("cancelled: %v", err)
	}
	if have, err := readAll(t, b.Bytes()); len(have) != 3 || err != nil {
		t.Errorf("%d records, %v; expected the 3 that were left", len(have), err)
	}
	boom := errors.New("boom")
	if err := (&Stream{Ring: r, Name: name}).Run(t.Context(), fails{boom}); err != boom {
		t.Errorf("error %v, expected the writer's", err)
	}
}

// TestStreamEndsWhileFramesKeepComing: a ring that is never empty must not keep
// the stream from noticing that nobody wants it any more.
func TestStreamEndsWhileFramesKeepComing(t *testing.T) {
	r := NewRing(4096, nil, 0)
	ctx, cancel := context.WithCancel(t.Context())
	n := uint32(0)
	more := func(uint32) string { // a frame of a new port for every one that is named
		if n++; n == 1000 {
			cancel()
		}
		if n == 1_000_000 {
			r.Close() // it failed
		}
		r.Put(1, n, In, wrap(udp))
		return "a"
	}
	more(0)
	if err := (&Stream{Ring: r, Name: more}).Run(ctx, io.Discard); err != nil {
		t.Fatal(err)
	}
	if n >= 1_000_000 {
		t.Error("the stream went on after its context had ended")
	}
}

func BenchmarkPut(b *testing.B) {
	r := NewRing(1<<20, nil, 0)
	f := wrap(make([]byte, 64))
	b.ReportAllocs()
	for b.Loop() {
		r.Put(1, 2, In, f)
		r.Next()
	}
}
