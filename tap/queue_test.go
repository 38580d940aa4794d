package tap

import (
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

func TestKindOf(t *testing.T) {
	tests := []struct {
		name string
		in   frame.Offload
		want frame.Caps
	}{
		{"none", frame.Offload{}, 0},
		{"data valid", frame.Offload{Flags: frame.DataValid}, 0},
		{"checksum", frame.Offload{Flags: frame.NeedsCsum}, frame.CapCsum},
		{"tcp4", frame.Offload{Flags: frame.NeedsCsum, GSO: frame.GSOTCP4}, frame.CapCsum | frame.CapTSO4},
		{"tcp6 with ECN", frame.Offload{GSO: frame.GSOTCP6 | frame.GSOECN}, frame.CapTSO6 | frame.CapECN},
		{"udp", frame.Offload{GSO: frame.GSOUDP}, frame.CapUSO},
		{"fragmentation offload", frame.Offload{GSO: frame.GSOUFO}, ^frame.Caps(0)},
		{"unheard of", frame.Offload{GSO: 77}, ^frame.Caps(0)},
		{"ECN alone", frame.Offload{GSO: frame.GSOECN}, ^frame.Caps(0)},
	}
	for _, tt := range tests {
		if got := tt.in.Needs(); got != tt.want {
			t.Errorf("%s: %b, want %b", tt.name, got, tt.want)
		}
	}
}

// An error is about the frame it names; the ones before are out.
func TestWriteBatchStopsAtRefused(t *testing.T) {
	d := openIn(t, newSpace(t), Options{Highest: TSO}, "")
	good, uso, short := broadcast(), broadcast(), broadcast()
	uso.Offload.GSO = frame.GSOUDP
	short.Truncate(13)
	tests := []struct {
		name string
		list []*frame.Frame
		n    int
		err  error
	}{
		{"none", nil, 0, nil},
		{"all good", []*frame.Frame{good, good}, 2, nil},
		{"beyond the rung", []*frame.Frame{good, good, uso, good}, 2, ErrRefused},
		{"runt", []*frame.Frame{good, short}, 1, ErrRefused},
		{"runt first", []*frame.Frame{short, good}, 0, ErrRefused},
	}
	for _, tt := range tests {
		if n, err := d.Queues()[0].WriteBatch(tt.list); n != tt.n || err != tt.err {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, n, err, tt.n, tt.err)
		}
	}
	plain := openIn(t, newSpace(t), Options{Highest: Plain}, "")
	partial := broadcast()
	partial.Offload.Flags = frame.NeedsCsum
	if n, err := plain.Queues()[0].WriteBatch([]*frame.Frame{good, partial}); n != 1 || err != ErrRefused {
		t.Errorf("unfinished checksum on rung plain: %d, %v", n, err)
	}
}

// A descriptor that is full blocks, which is told from refusing.
func TestWriteBatchBlocked(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	d := newDevice("pipe", Plain, []int{p[1]})
	defer d.Close()
	f := broadcast()
	for range 1 << 20 {
		if n, err := d.Queues()[0].WriteBatch([]*frame.Frame{f}); err != nil {
			if n != 0 || err != ErrBlocked {
				t.Errorf("%d, %v", n, err)
			}
			return
		}
	}
	t.Error("the pipe never filled")
}

// A frame that lies tightly behind another has the other's tail for headroom: it
// is whole again after each write, taken or not.
func TestWriteBatchPutsHeadroomBack(t *testing.T) {
	d := openIn(t, newSpace(t), Options{Highest: TSO}, "")
	data := broadcast().Bytes()
	mem := append(make([]byte, frame.OffloadLen), data...)
	for i := range frame.OffloadLen {
		mem[i] = byte(0xa0 + i)
	}
	mem = append(mem, data...)
	want := string(mem)
	b := frame.NewBatch()
	list := []*frame.Frame{b.Lend(mem, frame.OffloadLen, len(data)), b.Lend(mem, frame.OffloadLen+len(data), len(data)),
		b.Lend(mem, frame.OffloadLen+len(data), 13)}
	list[0].Offload.Flags = frame.DataValid
	if n, err := d.Queues()[0].WriteBatch(list); n != 2 || err != ErrRefused {
		t.Fatalf("%d written, %v; the runt was to be refused alone", n, err)
	}
	if string(mem) != want {
		t.Errorf("memory after the writes:\n%x, before:\n%x", mem, want)
	}
}

// A kernel that refuses superframes it granted is believed after some time; one
// bad frame on a device that takes good ones changes nothing.
func TestRunTimeFallback(t *testing.T) {
	tests := []struct {
		name   string
		proven frame.Caps
		gso    frame.GSO
		want   Rung
	}{
		{"udp never taken", 0, frame.GSOUDP, TSO},
		{"udp taken before", frame.CapUSO, frame.GSOUDP, USO},
		{"tcp taken, udp not", frame.CapTSO4, frame.GSOUDP, TSO},
		{"tcp never taken", 0, frame.GSOTCP4, USO},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := openIn(t, newSpace(t), Options{}, "")
			d.proven.Store(uint32(tt.proven))
			f := broadcast()
			f.Offload = frame.Offload{Flags: frame.NeedsCsum, GSO: tt.gso, Size: 10, CsumStart: 0xffff}
			if tt.gso == frame.GSOTCP4 {
				defer func() {
					if d.Caps()&(frame.CapTSO4|frame.CapTSO6) != frame.CapTSO6 {
						t.Errorf("caps %b, want TSO for IPv6 alone", d.Caps())
					}
				}()
			}
			for i := range refusals {
				if d.Rung() != USO {
					t.Fatalf("rung %s after %d refusals", d.Rung(), i)
				}
				if _, err := d.Queues()[0].WriteBatch([]*frame.Frame{f}); err != ErrRefused {
					t.Fatal(err)
				}
			}
			if d.Rung() != tt.want {
				t.Errorf("rung %s, want %s", d.Rung(), tt.want)
			}
		})
	}
}

// Frames too many for one batch stay in the queue.
func TestReadBatchStopsWhenFull(t *testing.T) {
	s := newSpace(t)
	d := openIn(t, s, Options{}, "10.9.0.1")
	b := frame.NewBatch()
	q := d.Queues()[0]
	drain(t, q, b)
	const sent = frame.MaxBatch + 10
	s.do(func() { sendRaw(t, d.Name(), sent) })
	var got []int
	for total := 0; total < sent; {
		b.Reset()
		n, err := q.ReadBatch(b)
		if err != nil || n == 0 || n != b.Len() {
			t.Fatalf("after %v: %d frames, batch of %d, %v", got, n, b.Len(), err)
		}
		got = append(got, n)
		total += n
	}
	if got[0] != frame.MaxBatch {
		t.Errorf("batches of %v, the first was to be full", got)
	}
	if n, err := q.ReadBatch(b); n != 0 || err != nil {
		b.Reset()
		n, err = q.ReadBatch(b)
		if n != 0 || err != nil {
			t.Errorf("empty queue: %d, %v", n, err)
		}
	}
}

// drain reads what the kernel sends on its own (neighbour discovery, MLD).
func drain(t testing.TB, q *Queue, b *frame.Batch) {
	t.Helper()
	for {
		b.Reset()
		n, err := q.ReadBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// sendRaw makes the kernel transmit n frames through an interface of the calling
// thread's namespace.
func sendRaw(t testing.TB, name string, n int) {
	send, end := rawSender(t, name)
	defer end()
	send(n)
}

// rawSender is sendRaw for more than once, from any thread.
func rawSender(t testing.TB, name string) (send func(n int), end func()) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return func(int) {}, func() {}
	}
	index, err := ifindex(name)
	if err != nil {
		t.Error(err)
	}
	data, to := broadcast().Bytes(), &unix.SockaddrLinklayer{Ifindex: index}
	send = func(n int) {
		for range n {
			if err := unix.Sendto(fd, data, 0, to); err != nil {
				t.Error(err)
				return
			}
		}
	}
	return send, func() { unix.Close(fd) }
}

func TestZeroAllocs(t *testing.T) {
	s := newSpace(t)
	d := openIn(t, s, Options{}, "")
	q := d.Queues()[0]
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(q.FD(), 1); err != nil {
		t.Fatal(err)
	}
	b := frame.NewBatch()
	out := frame.NewBatch()
	var list []*frame.Frame
	for range 16 {
		list = append(list, out.Append(broadcast().Bytes()))
	}
	bad := []*frame.Frame{broadcast()}
	bad[0].Truncate(3)
	ready := make([]uint64, 4)
	p.Wait(ready, 0)
	s.do(func() { sendRaw(t, d.Name(), 300) })
	tests := []struct {
		name string
		f    func()
	}{
		{"read", func() { b.Reset(); q.ReadBatch(b) }},
		{"read nothing", func() { b.Reset(); q.ReadBatch(b) }},
		{"write", func() { q.WriteBatch(list) }},
		{"write refused", func() { q.WriteBatch(bad) }},
		{"look", func() { p.Wait(ready, 0) }},
		{"wait", func() { p.Wake(); p.Wait(ready, -1) }},
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(50, tt.f); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}
