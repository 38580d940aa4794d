package uplink

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/nettest"
	"weft/tap"
	"weft/vswitch"
)

// A space is a network namespace and the thread that lives in it.
type space struct{ jobs chan func() }

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the namespace
		// with it.
		runtime.LockOSThread()
		ready <- syscall.Unshare(syscall.CLONE_NEWNET)
		for job := range s.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("unshare network namespace: %v", err)
	}
	t.Cleanup(func() { close(s.jobs) })
	return s
}

// do runs f inside the namespace. f must not end its goroutine.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() { defer close(done); f() }
	<-done
}

// A kernelGuest is an endpoint that is a kernel's, in a namespace of its own behind
// a TAP, with a switch between it and the uplink, as in the daemon.
type kernelGuest struct {
	*space
	host *Host
	port *vswitch.Port // the endpoint's
	exit *vswitch.Port
}

func newKernelGuest(t testing.TB, h *Host) *kernelGuest {
	t.Helper()
	k := &kernelGuest{space: newSpace(t), host: h}
	var dev *tap.Device
	var err error
	k.do(func() {
		if dev, err = tap.Open(tap.Options{Name: "eth0"}); err == nil {
			err = k.configure()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	sw := vswitch.New(vswitch.Config{Workers: 1})
	domain, err := sw.AddDomain(vswitch.DomainConfig{Name: "front", GatewayMAC: gateway4.MAC, Gateways: h.cfg.Addrs})
	if err != nil {
		t.Fatal(err)
	}
	if k.port, err = sw.AddPort(vswitch.PortConfig{Name: "alice", Domain: domain, MAC: alice4.MAC, Addrs: addrsOf(alice4, alice6)}, dev.Queues()[0]); err != nil {
		t.Fatal(err)
	}
	if k.exit, err = sw.AddPort(vswitch.PortConfig{Name: "exit", Domain: domain, Exit: true}, h); err != nil {
		t.Fatal(err)
	}
	worker, err := sw.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	k.serve(t, worker, map[*vswitch.Port]int{k.port: dev.Queues()[0].FD(), k.exit: h.FD()})
	return k
}

// serve runs a worker until the test's end.
func (k *kernelGuest) serve(t testing.TB, w *vswitch.Worker, ports map[*vswitch.Port]int) {
	poller, err := tap.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	by := map[uint64]*vswitch.Port{}
	for p, fd := range ports {
		by[uint64(fd)] = p
		if err := poller.Add(fd, uint64(fd)); err != nil {
			t.Fatal(err)
		}
	}
	var done sync.WaitGroup
	var stop atomic.Bool
	done.Go(func() {
		ready := make([]uint64, 8)
		for !stop.Load() {
			n, err := poller.Wait(ready, -1)
			if err != nil {
				t.Error(err)
				return
			}
			for _, token := range ready[:n] {
				for range 4 {
					if n, err := w.Turn(by[token]); err != nil || n < 7 {
						break
					}
				}
			}
		}
	})
	t.Cleanup(func() {
		stop.Store(true)
		poller.Wake()
		done.Wait()
		poller.Close()
	})
}

// configure gives the endpoint its addresses and its way out.
func (k *kernelGuest) configure() error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(link, net.HardwareAddr(alice4.MAC[:])); err != nil {
		return err
	}
	for _, text := range []string{"172.18.0.2/16", "fd00:18::2/64"} {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, l := range []netlink.Link{link, lo} {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	for _, gw := range []nettest.Host{gateway4, gateway6} {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw.IP.AsSlice()}); err != nil {
			return err
		}
	}
	return nil
}

func addrsOf(hosts ...nettest.Host) (addrs []netip.Addr) {
	for _, h := range hosts {
		addrs = append(addrs, h.IP)
	}
	return addrs
}
