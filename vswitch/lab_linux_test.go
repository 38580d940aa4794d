package vswitch

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/uplink"
	"weft/tap"
)

// A lab is a router with real kernels around it, each in a network namespace: endpoints
// a and b behind TAPs, a host outside behind a pair of virtual links, and the kernel of the
// namespace that the packet uplink is in, which is not to meddle.
//
//	a 10.0.0.2  fd00::2 ─┐                       ┌─ outside 192.0.2.254    2001:db8::fe
//	                     ├─ router 192.0.2.1 ─ u ┼ k        198.51.100.9   2001:db8:ffff::9
//	b 10.0.0.3  fd00::3 ─┘   2001:db8::1
type lab struct {
	t       testing.TB
	sw      *Switch
	inside  *Domain
	router  *Router
	packet  *uplink.Packet
	outPort *Port
	ports   map[string]*Port
	pids    map[string]int // of the namespaces
	now     atomic.Uint32

	stop    chan struct{}
	stopped sync.WaitGroup
	poller  *tap.Poller
	served  []*Port
}

func run(t testing.TB, command string) string {
	t.Helper()
	args := strings.Fields(command)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// namespace makes a network namespace, held by a process.
func (l *lab) namespace(name string) {
	l.t.Helper()
	cmd := exec.Command("unshare", "-n", "sleep", "300") // should nobody end it
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	l.pids[name] = cmd.Process.Pid
	own, _ := os.Readlink("/proc/self/ns/net")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
		if err == nil && ns != own {
			break
		}
		if time.Now().After(end) {
			l.t.Fatalf("no namespace %s: %v", name, err)
		}
	}
	l.in(name, "ip link set lo up")
}

// in runs commands in a namespace.
func (l *lab) in(name string, commands ...string) (out string) {
	l.t.Helper()
	for _, c := range commands {
		out = run(l.t, fmt.Sprintf("nsenter -n -t %d %s", l.pids[name], c))
	}
	return out
}

// try is in for one command that may fail.
func (l *lab) try(name, command string) (string, error) {
	args := append([]string{"-n", "-t", fmt.Sprint(l.pids[name])}, strings.Fields(command)...)
	out, err := exec.Command("nsenter", args...).CombinedOutput()
	return string(out), err
}

// thread runs f on a thread in a namespace: sockets that it opens belong there.
func (l *lab) thread(name string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", l.pids[name]), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err != nil {
			l.t.Errorf("entering %s: %v", name, err)
			return
		}
		f()
	}()
	<-done
}

// dial and listen open sockets in a namespace.
func (l *lab) dial(name, network, addr string) (c net.Conn, err error) {
	l.thread(name, func() { c, err = (&net.Dialer{Timeout: 10 * time.Second}).Dial(network, addr) })
	return c, err
}

func (l *lab) listen(name, addr string) net.Listener {
	l.t.Helper()
	var ln net.Listener
	var err error
	l.thread(name, func() { ln, err = net.Listen("tcp", addr) })
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// A labConfig varies a lab.
type labConfig struct {
	translator Translator
	mtu        int  // of the outside; 0 is 1500
	noOffload  bool // of the packet uplink
	handedOver bool // the uplink has the interface's own MAC, and the kernel no address on it
}

func newLab(t testing.TB, c labConfig) *lab {
	t.Helper()
	l := &lab{t: t, sw: New(Config{Workers: 2, Seed: 1}), ports: map[string]*Port{}, pids: map[string]int{}, stop: make(chan struct{})}
	l.now.Store(uint32(time.Now().Unix()))
	l.sw.Tick(l.now.Load())
	l.outside(c)
	var err error
	if l.inside, err = l.sw.AddDomain(DomainConfig{Name: "front", GatewayMAC: gwMAC, Gateways: []netip.Addr{ip(1), ip6(1)}}); err != nil {
		t.Fatal(err)
	}
	l.endpoint("a", 2)
	l.endpoint("b", 3)
	err = l.router.Publish([]Inner{
		{netip.MustParsePrefix("10.0.0.0/24"), l.inside}, {netip.MustParsePrefix("fd00::/64"), l.inside}, {netip.MustParsePrefix("10.7.0.0/16"), nil},
	}, []Route{
		{netip.MustParsePrefix("192.0.2.0/24"), netip.Addr{}}, {netip.MustParsePrefix("2001:db8::/64"), netip.Addr{}},
		{netip.MustParsePrefix("0.0.0.0/0"), outer(254)}, {netip.MustParsePrefix("::/0"), outer6(254)},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.serve()
	return l
}

// outside makes the link to the host there, and the packet uplink on this end of it.
func (l *lab) outside(c labConfig) {
	t := l.t
	l.namespace("outside")
	run(t, "ip link add u address 02:00:00:00:00:0a type veth peer name k address 02:00:00:00:00:0b netns "+fmt.Sprint(l.pids["outside"]))
	run(t, "ip link set u addrgenmode none")
	mtu := 1500
	if c.mtu != 0 {
		mtu = c.mtu
	}
	run(t, fmt.Sprintf("ip link set u up mtu %d", mtu))
	l.in("outside", fmt.Sprintf("ip link set k up mtu %d", mtu), "ip addr add 192.0.2.254/24 dev k", "ip addr add 2001:db8::fe/64 dev k nodad",
		"ip addr add 198.51.100.9/32 dev lo", "ip addr add 2001:db8:ffff::9/128 dev lo nodad")
	mac := outMAC
	if c.handedOver {
		mac = kernelMAC
	} else { // the kernel has an address and routes
		run(t, "ip addr add 192.0.2.5/24 dev u")
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/u/forwarding", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	p := uplink.PacketConfig{Interface: "u", MAC: mac, Addrs: []netip.Addr{outer(1), outer6(1)}, NoOffload: c.noOffload}
	if err := uplink.CheckPacket(p); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.packet, err = uplink.OpenPacket(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.packet.Close() })
	out, err := l.sw.AddDomain(DomainConfig{Name: "outside", Outside: true, GatewayMAC: mac, Gateways: p.Addrs})
	if err != nil {
		t.Fatal(err)
	}
	if l.outPort, err = l.sw.AddPort(PortConfig{Name: "u", Domain: out, MTU: l.packet.MTU()}, l.packet); err != nil {
		t.Fatal(err)
	}
	if l.router, err = l.sw.NewRouter(RouterConfig{Outside: out, Port: l.outPort, Translator: c.translator}); err != nil {
		t.Fatal(err)
	}
}

// endpoint makes one behind a TAP.
func (l *lab) endpoint(name string, last byte) {
	t := l.t
	l.namespace(name)
	dev, err := tap.Open(tap.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	run(t, fmt.Sprintf("ip link set dev %s address %s netns %d", name, mac(last), l.pids[name]))
	l.in(name, fmt.Sprintf("ip link set dev %s up", name), fmt.Sprintf("ip addr add 10.0.0.%d/24 dev %s", last, name), fmt.Sprintf("ip addr add fd00::%d/64 dev %s nodad", last, name),
		"ip route add default via 10.0.0.1", "ip -6 route add default via fd00::1")
	p, err := l.sw.AddPort(PortConfig{Name: name, Domain: l.inside, MAC: mac(last), Addrs: []netip.Addr{ip(last), ip6(last)}, MTU: 1500}, dev.Queues()[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{ip(last), ip6(last)} {
		if err := l.inside.Neighbours().SetStatic(a, mac(last)); err != nil {
			t.Fatal(err)
		}
	}
	l.ports[name] = p
}

// serve has one worker serve all ports, and another the seconds.
func (l *lab) serve() {
	t := l.t
	var err error
	if l.poller, err = tap.NewPoller(); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.sw.Ports() {
		fd := p.queues[0].(interface{ FD() int }).FD()
		if err := l.poller.Add(fd, uint64(len(l.served))); err != nil {
			t.Fatal(err)
		}
		l.served = append(l.served, p)
	}
	w, err := l.sw.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	asker, err := l.sw.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	l.stopped.Add(2)
	go l.work(w)
	go l.tick(asker)
	t.Cleanup(func() {
		close(l.stop)
		_ = l.poller.Wake()
		l.stopped.Wait()
		_ = l.poller.Close()
	})
}

func (l *lab) work(w *Worker) {
	defer l.stopped.Done()
	ready := make([]uint64, 8)
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		n, err := l.poller.Wait(ready, -1)
		if err != nil {
			l.t.Error(err)
			return
		}
		for _, i := range ready[:n] {
			if _, err := w.Turn(l.served[i]); err != nil {
				l.t.Errorf("%s: %v", l.served[i].Name(), err)
				return
			}
		}
	}
}

func (l *lab) tick(asker *Worker) {
	defer l.stopped.Done()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			now := l.now.Add(1)
			l.sw.Tick(now)
			l.router.Tick(asker)
			if n, ok := l.router.cfg.Translator.(interface{ Tick(uint32) }); ok {
				n.Tick(now)
			}
		}
	}
}

// kernelMAC is that of the interface that the packet uplink is on.
var kernelMAC = frame.MAC{2, 0, 0, 0, 0, 0xa}

// A witness writes down what the kernel that the packet uplink sits on sends by its interface, but for ARP.
type witness struct {
	fd    int
	mu    sync.Mutex
	heard []string
	done  chan struct{}
}

// watch has a witness listen outside.
func (l *lab) watch() *witness {
	w := &witness{done: make(chan struct{})}
	var err error
	l.thread("outside", func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("k"); err != nil {
			return
		}
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: ifi.Index})
		}
	})
	if err != nil {
		l.t.Fatal(err)
	}
	_ = unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000})
	_ = unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	go w.listen(l.stop)
	return w
}

// said returns what was heard up to now.
func (w *witness) said() []string {
	time.Sleep(200 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.heard)
}

func (w *witness) listen(stop chan struct{}) {
	defer close(w.done)
	defer unix.Close(w.fd)
	b := make([]byte, 70000)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, _, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil || n < frame.EtherLen || frame.MAC(b[6:12]) != kernelMAC || b[12] == frame.EtherARP>>8 && b[13] == frame.EtherARP&0xff {
			continue
		}
		w.mu.Lock()
		w.heard = append(w.heard, text(b[:n]))
		w.mu.Unlock()
	}
}
