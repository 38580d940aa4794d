package uplink

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/vswitch"
)

// cpu returns what this process has used so far: the uplink, the switch and, where
// the peers are goroutines, the peers.
func cpu() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// iperf runs one stream between a server outside and a client in the guest, or the
// other way round, and reports the rate and what this process spent on it.
func iperf(b *testing.B, server, client func(*exec.Cmd) error, at string, args ...string) {
	path, err := exec.LookPath("iperf3")
	if err != nil {
		nettest.Skip(b, "no iperf3")
	}
	host, port, _ := net.SplitHostPort(at)
	s := exec.Command(path, "-s", "-1", "-p", port)
	if err := server(s); err != nil {
		b.Fatal(err)
	}
	defer s.Wait()
	time.Sleep(200 * time.Millisecond)
	c := exec.Command(path, append([]string{"-c", host, "-p", port, "-J", "-t", "3"}, args...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	before := cpu()
	if err := client(c); err != nil {
		b.Fatal(err)
	}
	text, _ := io.ReadAll(out)
	if err := c.Wait(); err != nil {
		s.Process.Kill()
		b.Fatalf("iperf3: %v\n%s", err, text)
	}
	spent := cpu() - before
	var got struct {
		End struct {
			Received struct {
				Bytes float64
				Bits  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(text, &got); err != nil || got.End.Received.Bytes == 0 {
		b.Fatalf("iperf3: %v\n%s", err, text)
	}
	b.ReportMetric(got.End.Received.Bits/1e9, "Gbit/s")
	b.ReportMetric(spent.Seconds()*1e9/got.End.Received.Bytes, "cpu-s/GB")
	b.ReportMetric(0, "ns/op")
}

func start(c *exec.Cmd) error { return c.Start() }

func (k *kernelGuest) start(c *exec.Cmd) (err error) {
	k.do(func() { err = c.Start() })
	return err
}

func benchGuest(b *testing.B) (*Host, *kernelGuest) {
	h := newHost(b, nil)
	return h, newKernelGuest(b, h)
}

func BenchmarkTCPOut(b *testing.B) {
	h, k := benchGuest(b)
	iperf(b, start, k.start, outside4+":5201")
	report(b, h, k)
}

func BenchmarkTCPIn(b *testing.B) {
	h, k := benchGuest(b)
	iperf(b, start, k.start, outside4+":5201", "-R")
	report(b, h, k)
}

func BenchmarkPublishedIn(b *testing.B) {
	h, k := benchGuest(b)
	publish(b, h, "tcp", outside4+":5202", "172.18.0.2:5202")
	iperf(b, k.start, start, outside4+":5202")
	report(b, h, k)
}

func BenchmarkPublishedOut(b *testing.B) {
	h, k := benchGuest(b)
	publish(b, h, "tcp", outside4+":5202", "172.18.0.2:5202")
	iperf(b, k.start, start, outside4+":5202", "-R")
	report(b, h, k)
}

func BenchmarkUDPOut(b *testing.B) {
	h, k := benchGuest(b)
	iperf(b, start, k.start, outside4+":5201", "-u", "-b", "0", "-l", "1400")
	report(b, h, k)
}

func BenchmarkUDPIn(b *testing.B) {
	h, k := benchGuest(b)
	iperf(b, start, k.start, outside4+":5201", "-u", "-b", "0", "-l", "1400", "-R")
	report(b, h, k)
}

func report(b *testing.B, h *Host, k *kernelGuest) {
	if !testing.Verbose() {
		return
	}
	tcp := h.stack.Stats().TCP
	b.Logf("the stack's TCP: %d retransmits, %d of them fast, %d timeouts", tcp.Retransmits.Value(), tcp.FastRetransmit.Value(), tcp.Timeouts.Value())
	for _, p := range []*vswitch.Port{k.port, k.exit} {
		for r, n := range p.Stats().Dropped {
			if n > 0 {
				b.Logf("the switch, from %s: %v: %d", p.Name(), frame.Reason(r), n)
			}
		}
	}
	for name, n := range h.Stats().Counts {
		if n > 0 {
			b.Logf("%s: %d", name, n)
		}
	}
}

// BenchmarkConnect opens connections from the guest to a server outside, one byte
// each way, several at a time.
func BenchmarkConnect(b *testing.B) {
	h, k := benchGuest(b)
	server := tcpServer(b, outside4, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.Write([]byte("x"))
		io.Copy(io.Discard, c)
	})
	at := netip.MustParseAddrPort(server)
	before := cpu()
	b.ResetTimer()
	var all sync.WaitGroup
	const several = 8
	for i := range several {
		n := b.N / several
		if i == 0 {
			n += b.N % several
		}
		s := k.sibling(b)
		all.Go(func() { s.do(func() { connectMany(b, at, n) }) })
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/conn")
	report(b, h, k)
}

// connectMany connects with plain system calls, for Go's sockets would go to the
// runtime's own threads.
func connectMany(b *testing.B, at netip.AddrPort, n int) {
	one := []byte("x")
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
		}
		if err == nil {
			_, err = unix.Write(fd, one)
		}
		if err == nil {
			_, err = unix.Read(fd, one)
		}
		unix.Close(fd)
		if err != nil {
			b.Errorf("connection: %v", err)
			return
		}
	}
}

// sibling returns another thread in the guest's namespace.
func (k *kernelGuest) sibling(t testing.TB) *space {
	var fd int
	k.do(func() { fd, _ = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	defer unix.Close(fd)
	s := newSpace(t)
	var err error
	s.do(func() { err = unix.Setns(fd, unix.CLONE_NEWNET) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// BenchmarkRoundTrip sends one byte to a server outside, which sends it back.
func BenchmarkRoundTrip(b *testing.B) {
	_, k := benchGuest(b)
	at := netip.MustParseAddrPort(tcpServer(b, outside4, echo))
	b.ResetTimer()
	k.do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
		}
		defer unix.Close(fd)
		one := []byte("x")
		for i := 0; err == nil && i < b.N; i++ {
			if _, err = unix.Write(fd, one); err == nil {
				_, err = unix.Read(fd, one)
			}
		}
		if err != nil {
			b.Error(err)
		}
	})
}
