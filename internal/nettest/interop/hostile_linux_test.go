package interop

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/internal/node"
)

// encapsulated puts a frame behind a VXLAN header (RFC 7348, 5).
func encapsulated(flags byte, vni uint32, f []byte) []byte {
	b := []byte{flags, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, vni<<8)
	return append(b, f...)
}

// TestHostile sends what must not pass to the node, from the far end of the
// underlay. It ends by name, nothing is learned from it, and the rest goes on.
func TestHostile(t *testing.T) {
	isolated(t, func(t *testing.T) {
		n := kernelPair(t)
		ip(t, "-n far addr add 10.9.0.3/24 dev u1")
		known, unknown := sender(t, "10.9.0.2"), sender(t, "10.9.0.3")
		e := n.endpoint(t)
		box := nettest.Host{MAC: e.MAC, IP: e.IPv4.Addr()}
		bad := nettest.Host{MAC: frame.MAC{2, 0xbd, 0, 0, 0, 1}, IP: netip.MustParseAddr("10.66.20.250")}
		group := nettest.Host{MAC: frame.MAC{3, 0xbd, 0, 0, 0, 1}, IP: bad.IP}
		good := nettest.UDP(bad, box, 1, 2, make([]byte, 100))
		lying := bytes.Clone(good)
		binary.BigEndian.PutUint16(lying[16:], 1000)
		reserved := nettest.UDP(nettest.Host{MAC: frame.MAC{2, 0xbd, 0, 0, 0, 2}, IP: bad.IP}, box, 1, 2, nil)
		copy(reserved, []byte{1, 0x80, 0xc2, 0, 0, 0})
		for _, c := range []struct {
			name   string
			from   net.Conn
			data   []byte
			socket bool // it is dropped before it belongs to any tunnel
			want   frame.Reason
		}{
			{"unknown VTEP", unknown, encapsulated(8, vni, good), true, frame.UnknownVTEP},
			{"unknown VNI", known, encapsulated(8, vni+1, good), true, frame.UnknownVNI},
			{"no VNI flag", known, encapsulated(0, vni, good), true, frame.BadVXLAN},
			{"half a header", known, []byte{8, 0, 0, 0}, true, frame.Runt},
			{"nothing", known, nil, true, frame.Runt},
			{"header alone", known, encapsulated(8, vni, nil), true, frame.Runt},
			{"half an Ethernet header", known, encapsulated(8, vni, good[:10]), true, frame.Runt},
			{"own frame back", known, encapsulated(8, vni, nettest.UDP(box, bad, 1, 2, make([]byte, 100))), false, frame.StaticMAC},
			{"from a group", known, encapsulated(8, vni, nettest.UDP(group, box, 1, 2, nil)), false, frame.BadSource},
			{"lying length", known, encapsulated(8, vni, lying), false, frame.BadHeader},
			{"reserved group", known, encapsulated(8, vni, reserved), false, frame.Reserved},
			{"nested in itself", known, encapsulated(8, vni, encapsulated(8, vni, good)), false, frame.BadSource},
		} {
			t.Run(c.name, func(t *testing.T) {
				count := func() uint64 {
					if c.socket {
						return n.socketDrops(c.want.String())
					}
					return n.peer(t).Drops[c.want.String()]
				}
				before := count()
				if _, err := c.from.Write(c.data); err != nil {
					t.Fatal(err)
				}
				if !eventually(t, 2*time.Second, "counted as "+c.want.String(), func() bool { return count() == before+1 }) {
					_, sockets := n.Peers()
					t.Errorf("peer %+v, sockets %+v", n.peer(t), sockets)
				}
			})
		}
		rows, err := n.FDB("over")
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(rows, func(r node.FDBEntry) bool { return r.MAC == bad.MAC || r.MAC == group.MAC }) {
			t.Errorf("a stranger's address was learned: %+v", rows)
		}
		t.Run("oversized", func(t *testing.T) { oversized(t, n, known, bad, box) })
		n.mustBox(t, "ping", "-c", "1", "-W", "2", far4)
		n.mustBox(t, weft(), "tool", "send", "-m", "5", far4)
	})
}

// sender returns a socket at the far end that sends to the node's VTEP, from a
// port of its own choice.
func sender(t *testing.T, from string) net.Conn {
	t.Helper()
	var c net.Conn
	within(t, "far", func() (err error) {
		c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(near4), Port: 4789})
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// oversized sends a frame larger than any interface of the network takes, in an
// underlay datagram that came in fragments.
func oversized(t *testing.T, n *testNode, from net.Conn, bad, box nettest.Host) {
	reason := frame.TooBig.String()
	before := n.peer(t).Drops[reason]
	if _, err := from.Write(encapsulated(8, vni, nettest.UDP(bad, box, 1, 2, make([]byte, 3000)))); err != nil {
		t.Fatal(err)
	}
	if !eventually(t, 2*time.Second, "counted as "+reason, func() bool {
		return n.peer(t).Drops[reason] == before+1 && n.Stats()[0].TxDrops[reason] > 0
	}) {
		t.Errorf("peer %+v, ports %+v", n.peer(t), n.Stats())
	}
}
