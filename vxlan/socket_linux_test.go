package vxlan

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
)

func TestListenErrors(t *testing.T) {
	nettest.CheckLeaks(t)
	taken := listen(t, "127.0.0.1")
	for _, c := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"taken", Config{Addr: taken.Addr()}, []string{taken.Addr().String(), "address already in use", "ip -d link show type vxlan", "--data-path-port"}},
		{"taken, for ESP", Config{Addr: taken.Addr(), ESP: true}, []string{"address already in use", "IKE daemon", "--esp-port"}},
		{"not here", Config{Addr: addrPort("192.0.2.1:4789")}, []string{"192.0.2.1:4789", "no interface of this host", "--data-path-addr"}},
		{"no address", Config{}, []string{"no underlay address"}},
		{"pool too large", Config{Addr: addrPort("127.0.0.1:0"), Pool: 64}, []string{"64", "at most 63"}},
		{"workers", Config{Addr: addrPort("127.0.0.1:0"), Workers: -1}, []string{"-1 workers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Listen(c.cfg)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
	if _, err := Listen(Config{Addr: taken.Addr()}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v is not EADDRINUSE", err)
	}
}

// One port on an IPv4 and an IPv6 address is two sockets.
func TestBothFamilies(t *testing.T) {
	a := listen(t, "127.0.0.1")
	b, err := Listen(Config{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), a.Addr().Port())})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

// Close ends reading and writing, wakes who waits, and leaves nothing open.
func TestClose(t *testing.T) {
	nettest.CheckLeaks(t)
	s, err := Listen(Config{Addr: addrPort("127.0.0.1:0"), Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.NewLink(addrPort("127.0.0.2:0"), 1).Queues()); n != 3 {
		t.Errorf("%d queues for 3 workers", n)
	}
	woken := make(chan struct{})
	fd := s.FD()
	go func() {
		wait(t, fd, 10*time.Second)
		close(woken)
	}()
	time.Sleep(100 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-woken:
	case <-time.After(5 * time.Second):
		t.Error("who waited was not woken")
		<-woken
	}
	if n, err := s.ReadBatch(frame.NewBatch()); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadBatch = %d, %v", n, err)
	}
	if s.FD() != -1 {
		t.Errorf("FD = %d", s.FD())
	}
	if err := s.Close(); err != nil {
		t.Error("closed twice:", err)
	}
	s.Stats()
}

// Frames of a sender that is gone are not lost.
func TestReadAfterSenderClosed(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	data := udp(50, 100, 1)
	writeAll(t, q, list(t, data...))
	a.Close()
	sameFrames(t, collect(t, b, len(data)), data)
}

func TestPathMTU(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "::1"} {
		s := listen(t, a)
		if mtu, err := s.PathMTU(netip.MustParseAddr(a)); mtu < 65535 || err != nil {
			t.Errorf("%s: %d, %v", a, mtu, err)
		}
	}
	s := listen(t, "127.0.0.1")
	for a, why := range map[string]string{"::1": "one address is IPv4 and the other IPv6", "255.255.255.255": "connect: permission denied"} {
		if mtu, err := s.PathMTU(netip.MustParseAddr(a)); err == nil || !strings.Contains(err.Error(), "to "+a+": "+why) {
			t.Errorf("%s: %d, %v", a, mtu, err)
		}
	}
}

// Buffers are what was asked for, as far as the host allows.
func TestBuffers(t *testing.T) {
	st := listen(t, "127.0.0.1", func(c *Config) { c.SendBuffer, c.ReceiveBuffer = 100_000, 150_000 }).Stats()
	send, receive := 2*granted(t, "wmem_max", 100_000), 2*granted(t, "rmem_max", 150_000) // the kernel doubles
	if st.SendBuffer != send || st.ReceiveBuffer != receive {
		t.Errorf("buffers of %d and %d bytes, want %d and %d", st.SendBuffer, st.ReceiveBuffer, send, receive)
	}
}

// granted is what the kernel grants of a buffer: all of it to who has
// CAP_NET_ADMIN where the kernel began, else what its limit allows.
func granted(t *testing.T, limit string, want int) int {
	t.Helper()
	fd, err := udpSocket(netip.IPv4Unspecified())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) == nil {
		return want
	}
	b, err := os.ReadFile("/proc/sys/net/core/" + limit)
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return min(want, most)
}

// TestConcurrent is for the race detector: two workers send, one goroutine reads,
// the control plane changes tables and looks at counters.
func TestConcurrent(t *testing.T) {
	nettest.CheckLeaks(t)
	two := func(c *Config) { c.Workers = 2 }
	a, b, _ := pair(t, "127.0.0.1", "127.0.0.2", two)
	l := a.NewLink(b.Addr(), testVNI)
	stop := make(chan struct{})
	var control, workers sync.WaitGroup
	control.Go(func() {
		for i := uint32(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			b.SetTable(NewTable([]Route{{Peer: a.Addr(), VNI: testVNI, Port: 7}, {Peer: addrPort("127.0.0.9:1"), VNI: i, Port: i}}))
			a.SetTable(NewTable([]Route{{Peer: b.Addr(), VNI: testVNI, Port: 1}}))
			a.Stats()
			b.Stats()
		}
	})
	const rounds = 50
	for i, q := range l.Queues() {
		fs := list(t, udp(30, 1000, uint16(i))...)
		workers.Go(func() {
			for range rounds {
				for at := 0; at < len(fs); at++ {
					n, _ := q.WriteBatch(fs[at:])
					at += n
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	came := len(collect(t, b, 2*rounds*30))
	workers.Wait()
	close(stop)
	control.Wait()
	came += len(collect(t, b, 1))
	// A merged message that the kernel has no room for counts as one drop.
	sent := a.Stats().SentDatagrams
	if st := b.Stats(); came == 0 || uint64(came) > sent || st.KernelDrops == 0 && uint64(came) != sent {
		t.Errorf("%d came of %d: %+v", came, a.Stats().SentDatagrams, st)
	}
	conserved(t, b)
}

func TestZeroAllocs(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	plainA, plainB, plain := pair(t, "127.0.0.1", "127.0.0.2", func(c *Config) { c.NoGSO, c.NoGRO = true, true })
	_, strangerTo, unknown := pair(t, "127.0.0.1", "127.0.0.2")
	strangerTo.SetTable(nil)
	_, _ = a, plainA
	run := list(t, append(udp(43, 1400, 1), udp(1, 9, 1)...)...)
	var data [][]byte
	for i := range 64 {
		data = append(data, udp(1, 100+i, uint16(i))...)
	}
	mixed := list(t, data...)
	order := append([]*frame.Frame{}, mixed...)
	full := &gate{refuse: func(*unix.Msghdr, int, int) unix.Errno { return unix.EAGAIN }}
	refuse, kernel := full.sendmmsg, q.tx.call
	blocked := a.NewLink(b.Addr(), testVNI).Queues()[0]
	batch := frame.NewBatch()
	read := func(s *Socket) {
		for s.Pending() || wait(t, s.FD(), 0) {
			batch.Reset()
			if _, err := s.ReadBatch(batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"a run", func() { q.WriteBatch(run); read(b) }},
		{"many flows and sizes", func() { copy(mixed, order); q.WriteBatch(mixed); read(b) }},
		{"plain", func() { plain.WriteBatch(run); read(plainB) }},
		{"dropped", func() { unknown.WriteBatch(run); read(strangerTo) }},
		{"nothing there", func() { b.ReadBatch(batch) }},
		{"refused", func() {
			q.tx.call = refuse
			for at := range run {
				blocked.WriteBatch(run[at:])
			}
			q.tx.call = kernel
		}},
	} {
		t.Run(c.name, func(t *testing.T) { nettest.ZeroAllocs(t, c.f) })
	}
}
