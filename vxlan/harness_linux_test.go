package vxlan

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// testVNI is the network most tests are about.
const testVNI = 4097

// listen opens a socket on an address, port chosen by the kernel, that ends with
// the test.
func listen(t testing.TB, addr string, change ...func(*Config)) *Socket {
	t.Helper()
	c := Config{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0)}
	for _, f := range change {
		f(&c)
	}
	s, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// pair opens two sockets that know each other by testVNI, the sender's switch
// port being 7, and returns the sender's first queue as well.
func pair(t testing.TB, from, to string, change ...func(*Config)) (a, b *Socket, q *LinkQueue) {
	t.Helper()
	a, b = listen(t, from, change...), listen(t, to, change...)
	b.SetTable(NewTable([]Route{{Peer: a.Addr(), VNI: testVNI, Port: 7}}))
	return a, b, a.NewLink(b.Addr(), testVNI).Queues()[0]
}

// list returns frames of the given bytes, parsed, in an arena of their own.
func list(t testing.TB, data ...[]byte) []*frame.Frame {
	t.Helper()
	var fs []*frame.Frame
	var b *frame.Batch
	for _, d := range data {
		if b == nil || b.Full() {
			b = frame.NewBatch()
		}
		fs = append(fs, parsed(t, b, d))
	}
	return fs
}

// writeAll writes as a switch does: behind each refused frame it goes on. It
// returns the errors by the data they are about.
func writeAll(t testing.TB, q *LinkQueue, fs []*frame.Frame) (refused map[string]error) {
	t.Helper()
	refused = map[string]error{}
	for at := 0; at < len(fs); at++ {
		n, err := q.WriteBatch(fs[at:])
		if at += n; at == len(fs) {
			if err != nil {
				t.Fatalf("all were taken, and %v", err)
			}
			break
		}
		if err == nil {
			t.Fatalf("%d of %d taken without an error", n, len(fs))
		}
		refused[string(fs[at].Bytes())] = err
	}
	return refused
}

// wait waits until a descriptor can be read.
func wait(t testing.TB, fd int, timeout time.Duration) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(timeout.Milliseconds()))
	if err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
	return n > 0
}

// A got is a frame that was received.
type got struct {
	data string
	in   uint32
	vni  uint32
}

// A reading is a reader, or a socket with one.
type reading interface {
	FD() int
	Pending() bool
	ReadBatch(*frame.Batch) (int, error)
}

// collect reads until n frames have come, or for a while nothing more does.
func collect(t testing.TB, s reading, n int) (all []got) {
	t.Helper()
	b := frame.NewBatch()
	for {
		if !s.Pending() && !wait(t, s.FD(), time.Second/4) {
			return all
		}
		b.Reset()
		count, err := s.ReadBatch(b)
		if err != nil || count != b.Len() {
			t.Fatalf("ReadBatch = %d, %v with a batch of %d", count, err, b.Len())
		}
		for i := range count {
			f := b.At(i)
			all = append(all, got{string(f.Bytes()), f.In, f.VNI})
		}
		if len(all) >= n && !s.Pending() && !wait(t, s.FD(), 20*time.Millisecond) {
			return all
		}
	}
}

// sameFrames fails the test unless what came is what was sent, in any order, from
// the pair's sender.
func sameFrames(t testing.TB, came []got, sent [][]byte) {
	t.Helper()
	var a, b []string
	for _, g := range came {
		if g.in != 7 || g.vni != testVNI {
			t.Errorf("a frame came in through port %d of network %d", g.in, g.vni)
		}
		a = append(a, g.data)
	}
	for _, d := range sent {
		b = append(b, string(d))
	}
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		t.Errorf("%d frames came, not those %d that were sent", len(a), len(b))
	}
}

// conserved fails the test unless every datagram was handed out or dropped.
func conserved(t testing.TB, s *Socket) {
	t.Helper()
	st := s.Stats()
	sum := st.Frames + st.Control
	for _, n := range st.Drops {
		sum += n
	}
	if sum != st.Datagrams || st.Drops[frame.NotDropped] != 0 {
		t.Errorf("%d datagrams in, %d frames and drops: %+v", st.Datagrams, sum, st)
	}
}

// stranger opens a socket that is no VTEP and sends raw datagrams to addr.
func stranger(t testing.TB, from string, to netip.AddrPort) (fd int, send func([]byte)) {
	t.Helper()
	a := netip.MustParseAddr(from)
	fd, err := udpSocket(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := bind(fd, netip.AddrPortFrom(a, 0)); err != nil {
		t.Fatal(err)
	}
	if err := connect(fd, to); err != nil {
		t.Fatal(err)
	}
	return fd, func(b []byte) {
		t.Helper()
		if err := unix.Send(fd, b, 0); err != nil {
			t.Fatalf("send %d bytes: %v", len(b), err)
		}
	}
}

// encapsulated returns a datagram with a frame for a network.
func encapsulated(vni uint32, data []byte) []byte {
	b := make([]byte, HeaderLen, HeaderLen+len(data))
	PutHeader(b, vni)
	return append(b, data...)
}
