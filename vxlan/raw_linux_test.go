package vxlan

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/ipsec"
)

// raw makes a pair's sockets those of ESP in IP.
func raw(c *Config) { c.Raw = true }

// rawPair is sealedPair over ESP in IP.
func rawPair(t testing.TB, from, to string, change ...func(*Config)) (a, b *sealedEnd) {
	return sealedPair(t, from, to, true, append(change, raw)...)
}

// TestRawNamespace is for whoever has CAP_NET_RAW in a namespace of his own alone.
func TestRawNamespace(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		testRaw(t)
		testRawMTU(t)
	})
}

// TestRaw is on the host's loopback.
func TestRaw(t *testing.T) {
	if s, err := Listen(Config{Addr: addrPort("127.0.0.1:0"), ESP: true, Raw: true}); errors.Is(err, fs.ErrPermission) {
		nettest.Skip(t, "%v", err)
	} else if err == nil {
		s.Close()
	}
	testRaw(t)
}

// testRaw has what is sealed on one side opened on the other, over both families and
// both rungs.
func testRaw(t *testing.T) {
	nettest.CheckLeaks(t)
	single := func(a, b *Socket) {
		a.stepDown(SendSingle, "the test says so")
		b.rx.rung, b.rx.call = ReceiveSingle, recvEach
	}
	many := append(udp(64, 1380, 1), udp(30, 17, 2)...)
	for _, c := range []struct {
		name, from, to string
		data           [][]byte
		adjust         func(a, b *Socket)
	}{
		{"many", "127.0.0.1", "127.0.0.2", many, nil},
		{"one by one", "127.0.0.1", "127.0.0.2", many, single},
		{"the largest", "127.0.0.1", "127.0.0.2", udp(1, SealedMTU(65536, false, ipsec.AES256GCM, ipsec.InIP)-28, 1), nil},
		{"IPv6", "::1", "::1", many, nil},
		{"IPv6, one by one", "::1", "::1", many, single},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := rawPair(t, c.from, c.to)
			if c.adjust != nil {
				c.adjust(a.Socket, b.Socket)
			}
			if refused := writeAll(t, a.q, list(t, c.data...)); len(refused) != 0 {
				t.Fatal(refused)
			}
			sameFrames(t, collect(t, b.Socket, len(c.data)), c.data)
			conserved(t, b.Socket)
			if a.Addr().Port() != 0 {
				t.Errorf("it is at %v", a.Addr())
			}
			st, rst := a.Stats(), b.Stats()
			if st.SendRung == SendGSO || st.SentMerged != 0 || rst.ReceiveRung == ReceiveGRO || rst.Merged != 0 || st.SendNote == "" || rst.ReceiveNote == "" {
				t.Errorf("sent %+v, received %+v", st, rst)
			}
		})
	}
}

// testRawMTU: what is larger than the path takes is refused, and nothing fragmented.
func testRawMTU(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetMTU(lo, 1500)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, ends := range [][2]string{{"127.0.0.1", "127.0.0.2"}, {"::1", "::1"}} {
		a, b := rawPair(t, ends[0], ends[1])
		mtu, err := a.PathMTU(netip.MustParseAddr(ends[1]))
		if mtu != 1500 {
			t.Errorf("%s: path MTU %d, %v", ends[0], mtu, err)
		}
		size := SealedMTU(1500, ends[0] == "::1", ipsec.AES256GCM, ipsec.InIP) - 28
		fits, over := udp(1, size, 1), udp(1, size+1, 2)[0]
		refused := writeAll(t, a.q, list(t, over, fits[0]))
		if len(refused) != 1 || !errors.Is(refused[string(over)], frame.ErrTooBig) {
			t.Errorf("%s: refused %v", ends[0], refused)
		}
		sameFrames(t, collect(t, b.Socket, 1), fits)
	}
}

// TestRawWire: on the wire it is an IPv4 packet of protocol 50 that may not be
// fragmented, its payload the ESP packet and no more; and one that has IP options is
// received as well.
func TestRawWire(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		a, b := rawPair(t, "127.0.0.1", "127.0.0.2")
		tap := rawStranger(t, "127.0.0.2") // is given a copy
		data := udp(1, 100, 1)
		writeAll(t, a.q, list(t, data...))
		sameFrames(t, collect(t, b.Socket, 1), data)
		p := make([]byte, 2000)
		n, _, err := unix.Recvfrom(tap, p, unix.MSG_DONTWAIT)
		if err != nil {
			t.Fatal(err)
		}
		p = p[:n]
		want := 20 + ipsec.AES256GCM.PacketLen(sealedHeaders+len(data[0]))
		sa := a.pair.Outbound(0)
		if len(p) != want || p[0] != 0x45 || p[9] != 50 || p[6]&0x40 == 0 || binary.BigEndian.Uint32(p[20:]) != sa.SPI() || binary.BigEndian.Uint32(p[24:]) != 1 {
			t.Errorf("%d bytes, want %d, protocol 50 and SPI %08x: % x", len(p), want, sa.SPI(), p[:28])
		}

		from := rawStranger(t, "127.0.0.1")
		if err := unix.SetsockoptString(from, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x01"); err != nil {
			t.Fatal(err)
		}
		to := addressOf(addrPort("127.0.0.2:0"))
		if errno := sendTo(from, a.seal(t, ipsec.NextUDP, inner(testVNI, data[0])), &to); errno != 0 {
			t.Fatal(errno)
		}
		sameFrames(t, collect(t, b.Socket, 1), data)
		conserved(t, b.Socket)
	})
}

// rawStranger opens a socket of protocol 50 that is nobody's.
func rawStranger(t *testing.T, at string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ESP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(at).As4()}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// Everything is ESP: what is a keepalive or marked in UDP is nothing here, and what is
// not authentic, or came once, is dropped under its name.
func TestRawRefused(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			packet func(a, b *sealedEnd) []byte
			want   frame.Reason // NotDropped: control
		}{
			{"dummy", func(a, _ *sealedEnd) []byte { return a.seal(t, ipsec.NextNone, []byte{1, 2, 3}) }, frame.NotDropped},
			{"keepalive", func(*sealedEnd, *sealedEnd) []byte { return []byte{0xff} }, frame.BadESP},
			{"marked", func(*sealedEnd, *sealedEnd) []byte { return make([]byte, 36) }, frame.UnknownSPI},
			{"wrong direction", func(_, b *sealedEnd) []byte { return b.seal(t, ipsec.NextNone, nil) }, frame.UnknownSPI},
			{"a bit", func(a, _ *sealedEnd) []byte {
				p := a.seal(t, ipsec.NextNone, make([]byte, 40))
				p[20] ^= 1
				return p
			}, frame.BadICV},
			{"again", func(a, b *sealedEnd) []byte {
				p := a.seal(t, ipsec.NextNone, make([]byte, 40))
				if err := a.Send(b.Addr(), p); err != nil {
					t.Fatal(err)
				}
				return p
			}, frame.Replayed},
		} {
			for _, ends := range [][2]string{{"127.0.0.1", "127.0.0.2"}, {"::1", "::1"}} {
				a, b := rawPair(t, ends[0], ends[1], func(c *Config) {
					c.Marked = func(netip.AddrPort, []byte) { t.Errorf("%s: it was taken as marked", c.Addr) }
				})
				if err := a.Send(netip.AddrPortFrom(b.Addr().Addr(), ipsec.Port), c.packet(a, b)); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if came := collect(t, b.Socket, 1); len(came) != 0 {
					t.Errorf("%s: it was accepted: %v", c.name, came)
				}
				st := b.Stats()
				if c.want == frame.NotDropped && st.Control != 1 || c.want != frame.NotDropped && st.Drops[c.want] != 1 {
					t.Errorf("%s at %s: control %d, drops %v, expected %v", c.name, ends[0], st.Control, st.Drops, c.want)
				}
				conserved(t, b.Socket)
				a.Close()
				b.Close()
			}
		}
	})
}

func TestIPv4Header(t *testing.T) {
	packet := func(change func(p []byte)) []byte {
		p := make([]byte, 60)
		p[0], p[3], p[9] = 0x45, 60, 50
		change(p)
		return p
	}
	for _, c := range []struct {
		name string
		in   []byte
		want int
		r    frame.Reason
	}{
		{"plain", packet(func([]byte) {}), 20, frame.NotDropped},
		{"options", packet(func(p []byte) { p[0] = 0x46 }), 24, frame.NotDropped},
		{"all options, no payload", packet(func(p []byte) { p[0] = 0x4f }), 60, frame.NotDropped},
		{"empty", nil, 0, frame.Runt},
		{"cut", packet(func([]byte) {})[:19], 0, frame.Runt},
		{"IHL of 4", packet(func(p []byte) { p[0] = 0x44 }), 0, frame.BadESP},
		{"IHL of 0", packet(func(p []byte) { p[0] = 0x40 }), 0, frame.BadESP},
		{"IHL past the end", packet(func(p []byte) { p[0], p[3] = 0x4f, 59 })[:59], 0, frame.BadESP},
		{"IPv6", packet(func(p []byte) { p[0] = 0x65 }), 0, frame.BadESP},
		{"UDP", packet(func(p []byte) { p[9] = 17 }), 0, frame.BadESP},
		{"longer than it says", packet(func(p []byte) { p[3] = 59 }), 0, frame.BadESP},
		{"shorter than it says", packet(func(p []byte) { p[2] = 1 }), 0, frame.BadESP},
	} {
		if n, r := ipv4Header(c.in); n != c.want || r != c.r {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, n, r, c.want, c.r)
		}
	}
}

func TestRawErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"not for ESP", Config{Addr: addrPort("127.0.0.1:0"), Raw: true}, "expected one for ESP, without a port"},
		{"a port", Config{Addr: addrPort("127.0.0.1:4500"), ESP: true, Raw: true}, "expected one for ESP, without a port"},
	} {
		if s, err := Listen(c.cfg); err == nil {
			s.Close()
			t.Errorf("%s: no error", c.name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestRawNotHere has an address that no interface has.
func TestRawNotHere(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		s, err := Listen(Config{Addr: addrPort("192.0.2.1:0"), ESP: true, Raw: true})
		if err == nil {
			s.Close()
			t.Fatal("no error")
		}
		if !strings.Contains(err.Error(), "IP protocol 50 at 192.0.2.1: ") || !strings.Contains(err.Error(), "--data-path-addr") {
			t.Error(err)
		}
	})
}

// TestRawWithoutRight: the error says which right it takes.
func TestRawWithoutRight(t *testing.T) {
	nettest.Unprivileged(t, func(t *testing.T) {
		for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
			s, err := Listen(Config{Addr: addrPort(at), ESP: true, Raw: true})
			if err == nil {
				s.Close()
				t.Fatal("no error: has this user CAP_NET_RAW?")
			}
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") || !strings.Contains(err.Error(), "--esp-encapsulation udp") {
				t.Error(err)
			}
		}
	})
}

// Neither side allocates, and closing wakes who waits.
func TestRawAllocates(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		a, b := rawPair(t, "127.0.0.1", "127.0.0.2")
		noAllocations(t, a, b)
		woken := make(chan bool)
		fd := b.FD()
		go func() { woken <- wait(t, fd, 10*time.Second) }()
		time.Sleep(50 * time.Millisecond)
		b.Close()
		if !<-woken {
			t.Error("closing did not wake who polls")
		}
	})
}
