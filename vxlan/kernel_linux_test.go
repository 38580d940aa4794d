package vxlan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// A space is a network namespace and the thread that lives in it.
type space struct {
	jobs chan func() error
	done chan error
}

// newSpace makes a network namespace that ends with the test.
func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{make(chan func() error), make(chan error)}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and the namespace with it
		for job := range s.jobs {
			s.done <- job()
		}
	}()
	t.Cleanup(func() { close(s.jobs) })
	s.do(t, func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	return s
}

// do runs a job inside the namespace.
func (s *space) do(t *testing.T, job func() error) {
	t.Helper()
	s.jobs <- job
	if err := <-s.done; err != nil {
		t.Fatal(err)
	}
}

// underlay joins this namespace (10.9.0.1, fd00:9::1) to another (.2) by a veth
// pair of the given MTU, called under0 on both sides.
func underlay(t *testing.T, s *space, mtu int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "under0", mtu
	var there netlink.NsPid
	s.do(t, func() error { there = netlink.NsPid(unix.Gettid()); return nil })
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "under0", PeerNamespace: there}); err != nil {
		t.Fatal(err)
	}
	if err := up("under0", "10.9.0.1/24", "fd00:9::1/64"); err != nil {
		t.Fatal(err)
	}
	s.do(t, func() error { return up("under0", "10.9.0.2/24", "fd00:9::2/64") })
}

// kernelVTEP makes the kernel's VXLAN device vx0 for testVNI, with hostB's
// addresses, in the calling thread's namespace. Its only peer is the other side.
func kernelVTEP(v6, checksum bool, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "vx0", InnerMTU(mtu, v6)
	vx := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: testVNI, Port: Port, Learning: true, UDPCSum: checksum,
		UDP6ZeroCSumTx: !checksum, UDP6ZeroCSumRx: true}
	vx.SrcAddr, vx.Group = net.ParseIP("10.9.0.2"), net.ParseIP("10.9.0.1")
	if v6 {
		vx.SrcAddr, vx.Group = net.ParseIP("fd00:9::2"), net.ParseIP("fd00:9::1")
	}
	if err := netlink.LinkAdd(vx); err != nil {
		return fmt.Errorf("add vx0: %w", err)
	}
	link, err := netlink.LinkByName("vx0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(link, net.HardwareAddr(hostB.MAC[:])); err != nil {
		return err
	}
	return up("vx0", "10.0.1.3/24", "fd00:1::3/64")
}

// up gives an interface of the calling thread's namespace addresses and sets it
// up.
func up(name string, addrs ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		parsed, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		parsed.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, parsed); err != nil {
			return fmt.Errorf("add %s to %s: %w", a, name, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// echo returns n echo requests with size bytes of data each.
func echo(n, size int) (out [][]byte) {
	for i := range n {
		m := make([]byte, 8+size)
		m[0] = 8
		binary.BigEndian.PutUint16(m[4:], 77)
		binary.BigEndian.PutUint16(m[6:], uint16(i))
		binary.BigEndian.PutUint16(m[2:], frame.Checksum(m, 0))
		out = append(out, nettest.Ether(hostB.MAC, hostA.MAC, frame.EtherIPv4, nettest.IP(hostA.IP, hostB.IP, frame.ProtoICMP, m)))
	}
	return out
}

// arpRequest asks for hostB, and tells the kernel of hostA with it.
func arpRequest() []byte {
	a, b := hostA.IP.As4(), hostB.IP.As4()
	p := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	p = append(append(append(append(p, hostA.MAC[:]...), a[:]...), make([]byte, 6)...), b[:]...)
	return nettest.Ether(nettest.Broadcast, hostA.MAC, frame.EtherARP, p)
}

// TestKernel exchanges frames with the kernel's own VXLAN device, which answers
// what it is asked by ARP and ping, in every way its outer header may look.
func TestKernel(t *testing.T) {
	for _, c := range []struct {
		name         string
		v6, checksum bool
	}{{"IPv4 with checksum", false, true}, {"IPv4 without checksum", false, false}, {"IPv6 with checksum", true, true}, {"IPv6 without checksum", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			nettest.Namespaced(t, func(t *testing.T) {
				there := newSpace(t)
				underlay(t, there, 1500)
				there.do(t, func() error { return kernelVTEP(c.v6, c.checksum, 1500) })
				from, to := "10.9.0.1", "10.9.0.2"
				if c.v6 {
					from, to = "fd00:9::1", "fd00:9::2"
				}
				s := listen(t, from, func(cfg *Config) { cfg.Addr = netip.AddrPortFrom(cfg.Addr.Addr(), Port) })
				peer := netip.AddrPortFrom(netip.MustParseAddr(to), Port)
				s.SetTable(NewTable([]Route{{Peer: peer, VNI: testVNI, Port: 7}}))
				q := s.NewLink(peer, testVNI).Queues()[0]

				reply := introduce(t, s, q)
				if !bytes.Equal(reply[6:12], hostB.MAC[:]) || !bytes.Equal(reply[:6], hostA.MAC[:]) {
					t.Errorf("ARP reply %x", reply)
				}
				largest := InnerMTU(1500, c.v6) - 28
				requests := append(echo(50, largest), echo(14, 5)...)
				writeAll(t, q, list(t, requests...))
				replies := expect(t, s, len(requests), func(b []byte) bool { return b[12] == 8 && b[13] == 0 && b[23] == 1 && b[34] == 0 })
				for i, r := range replies {
					request := requests[i]
					if !bytes.Equal(r[38:], request[38:]) || frame.Checksum(r[34:], 0) != 0 {
						t.Fatalf("reply %d is not the answer to request %d", i, i)
					}
				}
				st := s.Stats()
				if st.SendRung != SendGSO || st.SentMerged == 0 || st.Drops != [frame.Reasons]uint64{} || st.SendFault != "" {
					t.Errorf("%+v", st)
				}
				t.Logf("received %d datagrams in %d messages, %d merged", st.Datagrams, st.Messages, st.Merged)
				conserved(t, s)
			})
		})
	}
}

// TestKernelOffload shows what a kernel's VTEP leaves undone when its datagrams
// come over a veth pair: checksums, and the segmentation of TCP. The frames
// arrive like that, and frame.Unfinished tells.
func TestKernelOffload(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		there := newSpace(t)
		underlay(t, there, 1500)
		there.do(t, func() error { return kernelVTEP(false, true, 1500) })
		s := listen(t, "10.9.0.1", func(cfg *Config) { cfg.Addr = netip.AddrPortFrom(cfg.Addr.Addr(), Port) })
		peer := addrPort("10.9.0.2:4789")
		s.SetTable(NewTable([]Route{{Peer: peer, VNI: testVNI, Port: 7}}))
		q := s.NewLink(peer, testVNI).Queues()[0]
		introduce(t, s, q)
		connected := make(chan error, 1)
		there.do(t, func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			go func() {
				defer unix.Close(fd)
				err := unix.Connect(fd, &unix.SockaddrInet4{Port: 99, Addr: hostA.IP.As4()})
				if err == nil {
					_, err = unix.Write(fd, make([]byte, 12000))
				}
				connected <- err
			}()
			return nil
		})
		tcp := func(b []byte) bool { return b[12] == 8 && b[13] == 0 && b[23] == frame.ProtoTCP }
		syn := list(t, expect(t, s, 1, tcp)[0])[0]
		if syn.Unfinished(1450); syn.Offload.Flags != frame.NeedsCsum {
			t.Errorf("SYN: %+v", syn.Offload)
		}
		seg := nettest.Segment{SrcPort: 99, DstPort: binary.BigEndian.Uint16(syn.Bytes()[34:]), Flags: nettest.SYN | nettest.ACK,
			Ack: binary.BigEndian.Uint32(syn.Bytes()[38:]) + 1, Window: 60000, Options: []byte{2, 4, 1410 >> 8, 1410 & 255}}
		writeAll(t, q, list(t, nettest.TCP(hostA, hostB, seg)))
		if err := <-connected; err != nil {
			t.Fatal(err)
		}
		large := expect(t, s, 1, func(b []byte) bool { return tcp(b) && len(b) > 1464 })[0]
		f := list(t, large)[0]
		if f.Unfinished(1450); f.Offload.GSO != frame.GSOTCP4 || f.Offload.Size != 1410 {
			t.Errorf("segment of %d bytes: %+v", f.Len(), f.Offload)
		}
	})
}

// introduce asks for hostB until the kernel answers: what is sent before the
// underlay has come up on both sides is lost. It returns the answer.
func introduce(t *testing.T, s *Socket, q *LinkQueue) []byte {
	t.Helper()
	for range 50 {
		writeAll(t, q, list(t, arpRequest()))
		if replies := gather(t, s, 1, time.Second/10, func(b []byte) bool { return b[12] == 8 && b[13] == 6 && b[21] == 2 }); len(replies) > 0 {
			return replies[0]
		}
	}
	t.Fatalf("the kernel's VTEP does not answer: %+v", s.Stats())
	return nil
}

// expect reads until n frames that match have come, in this order.
func expect(t *testing.T, s *Socket, n int, match func([]byte) bool) [][]byte {
	t.Helper()
	out := gather(t, s, n, 5*time.Second, match)
	if len(out) < n {
		t.Fatalf("%d frames of %d came: %+v", len(out), n, s.Stats())
	}
	return out
}

// gather reads until n frames that match have come, or the time is over.
func gather(t *testing.T, s *Socket, n int, limit time.Duration, match func([]byte) bool) (out [][]byte) {
	t.Helper()
	batch := frame.NewBatch()
	for end := time.Now().Add(limit); len(out) < n && time.Now().Before(end); {
		if !s.Pending() && !wait(t, s.FD(), time.Second/10) {
			continue
		}
		batch.Reset()
		if _, err := s.ReadBatch(batch); err != nil {
			t.Fatal(err)
		}
		for i := range batch.Len() {
			if b := batch.At(i).Bytes(); len(b) > 34 && match(b) {
				out = append(out, bytes.Clone(b))
			}
		}
	}
	return out
}

// What is larger than the path takes is refused by name, in runs and alone, and
// what is not goes. The path's MTU is known, and followed.
func TestTooBig(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		for _, ends := range [][2]string{{"127.0.0.1", "127.0.0.2"}, {"::1", "::1"}} {
			for _, noGSO := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s without GSO %v", ends[0], noGSO), func(t *testing.T) {
					if err := netlink.LinkSetMTU(lo, 1500); err != nil {
						t.Fatal(err)
					}
					a, b, q := pair(t, ends[0], ends[1], func(c *Config) { c.NoGSO = noGSO })
					mtu, err := a.PathMTU(b.Addr().Addr())
					if mtu != 1500 || err != nil {
						t.Fatalf("PathMTU = %d, %v", mtu, err)
					}
					inner := InnerMTU(mtu, b.Addr().Addr().Is6())
					fit, over := udp(9, inner-28, 1), udp(20, inner-27, 1)
					data := append(append(append([][]byte{}, fit[:5]...), over...), fit[5:]...)
					refused := writeAll(t, q, list(t, data...))
					for _, d := range over {
						if refused[string(d)] != ErrTooBig {
							t.Fatalf("over-large frame: %v", refused[string(d)])
						}
					}
					if len(refused) != len(over) {
						t.Errorf("%d refused, want %d", len(refused), len(over))
					}
					sameFrames(t, collect(t, b, len(fit)), fit)
					st := a.Stats()
					if (st.SendRung == SendGSO) == noGSO || st.Calls > 6 {
						t.Errorf("%+v", st)
					}
					if err := netlink.LinkSetMTU(lo, 1501); err != nil {
						t.Fatal(err)
					}
					if refused := writeAll(t, q, list(t, data...)); len(refused) != 0 {
						t.Errorf("%d refused on a larger path", len(refused))
					}
					sameFrames(t, collect(t, b, len(data)), data)
				})
			}
		}
	})
}

// An underlay that goes away costs frames, named; when it is back, traffic is.
func TestUnderlayDown(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		there := newSpace(t)
		underlay(t, there, 1500)
		link, err := netlink.LinkByName("under0")
		if err != nil {
			t.Fatal(err)
		}
		a := listen(t, "10.9.0.1")
		var b *Socket
		there.do(t, func() (err error) {
			b, err = Listen(Config{Addr: addrPort("10.9.0.2:4789")})
			return err
		})
		defer b.Close()
		b.SetTable(NewTable([]Route{{Peer: a.Addr(), VNI: testVNI, Port: 7}}))
		q := a.NewLink(b.Addr(), testVNI).Queues()[0]
		data := udp(10, 100, 1)
		for range 2 {
			writeAll(t, q, list(t, data...))
			sameFrames(t, collect(t, b, len(data)), data)
			if err := netlink.LinkSetDown(link); err != nil {
				t.Fatal(err)
			}
			refused := writeAll(t, q, list(t, data...))
			for _, err := range refused {
				if err != ErrFailed {
					t.Fatalf("while the underlay is down: %v", err)
				}
			}
			if st := a.Stats(); len(refused) != len(data) || st.SendFault != "network is unreachable" {
				t.Errorf("while the underlay is down: %d refused, fault %q", len(refused), st.SendFault)
			}
			if err := netlink.LinkSetUp(link); err != nil {
				t.Fatal(err)
			}
		}
	})
}
