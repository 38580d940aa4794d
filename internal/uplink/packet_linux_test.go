package uplink

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/internal/frame"
	"weft/internal/nettest"
)

var (
	hostU4 = nettest.Host{MAC: macU, IP: netip.MustParseAddr("192.0.2.1")}
	hostK4 = nettest.Host{MAC: macK, IP: netip.MustParseAddr("192.0.2.2")}
	hostU6 = nettest.Host{MAC: macU, IP: netip.MustParseAddr("2001:db8::1")}
	hostK6 = nettest.Host{MAC: macK, IP: netip.MustParseAddr("2001:db8::2")}
)

// superframes are one of each kind a sender can leave undone.
func superframes() (all []got) {
	add := func(data []byte, o frame.Offload) { all = append(all, got{string(data), o}) }
	payload := bytes.Repeat([]byte("superframe"), 4000)
	add(nettest.TCPSuper(hostU4, hostK4, nettest.Segment{SrcPort: 1, DstPort: 2, Flags: nettest.ACK, Payload: payload}, 1448))
	add(nettest.TCPSuper(hostU6, hostK6, nettest.Segment{SrcPort: 1, DstPort: 2, Flags: nettest.ACK, Payload: payload}, 1428))
	add(nettest.UDPSuper(hostU4, hostK4, 1, 2, payload, 1000))
	add(nettest.UDPSuper(hostU6, hostK6, 1, 2, payload, 1000))
	add(nettest.NeedsCsum(nettest.UDP(hostU4, hostK4, 1, 2, []byte("undone"))))
	add(nettest.UDP(hostU4, hostK4, 1, 2, []byte("complete")), frame.Offload{})
	return all
}

// TestPacketBothWays sends from one end of a link what the other is to receive as it
// is: superframes stay whole.
func TestPacketBothWays(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		nettest.CheckLeaks(t)
		veth(t)
		u, k := openTest(t, PacketConfig{Interface: "u"}), openTest(t, PacketConfig{Interface: "k"})
		if s := u.Stats(); s.Rung != "vnet" || u.MAC() != macU || u.MTU() != 1500 {
			t.Fatalf("rung %q (%s), MAC %v, MTU %d", s.Rung, s.Note, u.MAC(), u.MTU())
		}
		for _, w := range superframes() {
			f := made(t, []byte(w.data), w.off)
			f.Offload.HdrLen = 65000 // anything: it is not trusted
			send(t, u, f)
			came := receive(t, k, 1)
			if len(came) != 1 || came[0].data != w.data {
				t.Fatalf("%+v: %d frames came, not the one sent", w.off, len(came))
			}
			o := came[0].off
			if o.GSO != w.off.GSO || o.Size != w.off.Size || o.Flags&frame.NeedsCsum != w.off.Flags || o.CsumStart != w.off.CsumStart {
				t.Errorf("offload %+v, want %+v", o, w.off)
			}
		}
		if s := k.Stats(); s.Drops != 0 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestPacketPlain has one end without a virtio header: it takes no superframes, and
// finds out about those it is given.
func TestPacketPlain(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		veth(t)
		u, k := openTest(t, PacketConfig{Interface: "u"}), openTest(t, PacketConfig{Interface: "k", NoOffload: true})
		if s := k.Stats(); s.Rung != "plain" || k.Caps() != 0 || s.Note == "" {
			t.Fatalf("%+v, takes %b", s, k.Caps())
		}
		all := superframes()
		if n, err := k.WriteBatch([]*frame.Frame{made(t, []byte(all[0].data), all[0].off)}); n != 0 || !errors.Is(err, ErrRefused) {
			t.Errorf("a superframe: %d, %v", n, err)
		}
		for i, want := range []frame.GSO{0: frame.GSOTCP4, 1: frame.GSOTCP6} {
			send(t, u, made(t, []byte(all[i].data), all[i].off))
			if came := receive(t, k, 1); len(came) != 1 || came[0].data != all[i].data || came[0].off.GSO != want || came[0].off.Flags != frame.NeedsCsum {
				t.Errorf("%v: %d frames came", want, len(came))
			}
		}
		send(t, k, made(t, []byte(all[5].data), frame.Offload{}))
		if came := receive(t, u, 0); len(came) != 0 { // it is for k's own MAC
			t.Errorf("%d frames for another came", len(came))
		}
	})
}

// TestPacketFilter: an uplink with a MAC of its own sees what is for it alone.
func TestPacketFilter(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		veth(t)
		own := nettest.Host{MAC: macOwn, IP: hostU4.IP}
		u := openTest(t, PacketConfig{Interface: "u", MAC: macOwn, Addrs: []netip.Addr{hostU6.IP}})
		k := openTest(t, PacketConfig{Interface: "k"})
		group := nettest.Host{MAC: frame.MAC{1, 0, 0x5e, 0, 0, 251}, IP: netip.MustParseAddr("224.0.0.251")}
		mine := nettest.UDP(hostK4, own, 1, 2, []byte("mine"))
		tests := []struct {
			name string
			data []byte
			come bool
		}{
			{"IPv4", mine, true},
			{"IPv6", nettest.UDP(hostK6, nettest.Host{MAC: macOwn, IP: hostU6.IP}, 1, 2, nil), true},
			{"ARP for all", nettest.ARPRequest(hostK4, hostU4.IP), true},
			{"ARP", nettest.ARPReply(hostK4, own), true},
			{"a neighbour's question", nettest.NeighborSolicit(hostK6, hostU6.IP), true},
			{"another type", nettest.Ether(macOwn, macK, 0x88b5, make([]byte, 46)), false},
			{"the interface's own", nettest.UDP(hostK4, hostU4, 1, 2, nil), false},
			{"nearly", nettest.UDP(hostK4, nettest.Host{MAC: frame.MAC{2, 0, 0, 0, 1, 0xc}, IP: own.IP}, 1, 2, nil), false},
			{"a group of IPv4", nettest.UDP(hostK4, group, 5353, 5353, nil), false},
			{"tagged", nettest.Tag(mine, 5), false},
		}
		for _, tt := range tests {
			send(t, k, made(t, tt.data, frame.Offload{}))
			n := 0
			if tt.come {
				n = 1
			}
			if came := receive(t, u, n); len(came) != n || n == 1 && came[0].data != string(tt.data) {
				t.Errorf("%s: %d came, want %d", tt.name, len(came), n)
			}
		}
		// A device that cannot look for several MACs listens to everything.
		if link, err := netlink.LinkByName("u"); err != nil || link.Attrs().Promisc == 0 {
			t.Errorf("the interface does not take in frames for another MAC: %v", err)
		}
		joined, err := os.ReadFile("/proc/self/net/dev_mcast")
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range []string{"333300000001", "3333ff00000c", "3333ff000001"} {
			if !slices.ContainsFunc(strings.Split(string(joined), "\n"), func(line string) bool {
				f := strings.Fields(line)
				return len(f) == 5 && f[1] == "u" && f[4] == group
			}) {
				t.Errorf("group %s was not joined:\n%s", group, joined)
			}
		}
		k2 := openTest(t, PacketConfig{Interface: "u", MAC: macK}) // as if on the same machine
		send(t, u, made(t, nettest.UDP(own, hostK4, 1, 2, nil), frame.Offload{}))
		if came := receive(t, k2, 0); len(came) != 0 {
			t.Errorf("%d frames came that the machine has sent itself", len(came))
		}
	})
}

// TestPacketEnds: what is refused, and how an uplink ends.
func TestPacketEnds(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		nettest.CheckLeaks(t)
		veth(t)
		u := openTest(t, PacketConfig{Interface: "u"})
		big := made(t, nettest.UDP(hostU4, hostK4, 1, 2, make([]byte, 1600)), frame.Offload{})
		small := made(t, nettest.UDP(hostU4, hostK4, 1, 2, nil), frame.Offload{})
		if n, err := u.WriteBatch([]*frame.Frame{small, big, small}); n != 1 || !errors.Is(err, frame.ErrTooBig) {
			t.Errorf("behind a frame too large: %d, %v", n, err)
		}
		ip(t, "link set u mtu 1400")
		if err := u.Refresh(); err != nil || u.MTU() != 1400 {
			t.Errorf("MTU %d, %v", u.MTU(), err)
		}
		ip(t, "link set u down")
		if n, err := u.WriteBatch([]*frame.Frame{small}); n != 0 || !errors.Is(err, ErrRefused) {
			t.Errorf("while down: %d, %v", n, err)
		}
		if n, err := u.ReadBatch(frame.NewBatch()); n != 0 || err != nil {
			t.Errorf("while down: %d, %v", n, err)
		}
		ip(t, "link set u up")
		send(t, u, small) // though the link may not be noticed yet
		ip(t, "link del u")
		if n, err := u.WriteBatch([]*frame.Frame{small}); n != 0 || !errors.Is(err, os.ErrClosed) {
			t.Errorf("after it was deleted: %d, %v", n, err)
		}
		if n, err := u.ReadBatch(frame.NewBatch()); n != 0 || !errors.Is(err, ErrGone) {
			t.Errorf("after it was deleted: %d, %v", n, err)
		}
		if err := u.Refresh(); !errors.Is(err, ErrGone) {
			t.Errorf("after it was deleted: %v", err)
		}
		if err := errors.Join(u.Close(), u.Close()); err != nil {
			t.Error(err)
		}
		if _, err := u.ReadBatch(frame.NewBatch()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err := OpenPacket(PacketConfig{Interface: "lo"}); err == nil {
			t.Error("an uplink on lo")
		}
	})
}
