package uplink

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// hidden puts a TCP segment behind IPv6 extension headers: an atomic fragment (RFC
// 6946), then empty destination options.
func hidden(from, to nettest.Host, segment []byte, options int) []byte {
	const tcp, fragment, destination = 6, 44, 60
	next := func(last int, i int) byte {
		if i == last {
			return tcp
		}
		return destination
	}
	chain := []byte{next(options, 0), 0, 0, 0, 0, 0, 0, 1}
	for i := range options {
		chain = append(chain, next(options, i+1), 0, 1, 4, 0, 0, 0, 0) // PadN
	}
	return nettest.Ether(to.MAC, from.MAC, frame.EtherIPv6, nettest.IP(from.IP, to.IP, fragment, append(chain, segment...)))
}

// TestReached: an endpoint that may begin nothing begins nothing, whatever it wraps it
// in; who calls it by a published port is answered.
func TestReached(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, func(c *HostConfig) {
		c.Begins = func(a netip.Addr) bool { return a != alice4.IP && a != alice6.IP }
		c.HostLoopback = true
	})
	w := newWire(t, h)
	alice, bob := newGuest(t, w, alice4, alice6), newGuest(t, w, bob4)
	tcp4, tcp6 := netip.MustParseAddrPort(tcpServer(t, outside4, echo)), netip.MustParseAddrPort(tcpServer(t, outside6, echo))
	out4, out6 := away(outside4), away(outside6)
	syn6 := syn(alice6, out6, 1000, tcp6.Port())[frame.EtherLen+40:]
	for _, tt := range []struct {
		name, count string
		frames      [][]byte
	}{
		{"SYN", "destination-refused", [][]byte{syn(alice4, out4, 1000, tcp4.Port())}},
		{"IPv6 SYN", "destination-refused", [][]byte{syn(alice6, out6, 1000, tcp6.Port())}},
		{"SYN to the gateway", "destination-refused", [][]byte{syn(alice4, gateway4, 1000, tcp4.Port())}},
		{"SYN in an atomic fragment", "tcp-fragment", [][]byte{hidden(alice6, out6, syn6, 0)}},
		{"SYN behind options in an atomic fragment", "tcp-fragment", [][]byte{hidden(alice6, out6, syn6, 3)}},
		{"SYN behind more headers than are looked at", "not-carried", [][]byte{hidden(alice6, out6, syn6, 20)}},
		{"datagram", "destination-refused", [][]byte{nettest.UDP(alice4, out4, 5000, 53, []byte("x"))}},
		{"datagram in fragments", "destination-refused", nettest.Fragments(nettest.UDP(alice4, out4, 5000, 53, make([]byte, 3000)), 1500)},
		{"echo request", "destination-refused", [][]byte{nettest.Echo(alice4, out4, false, 1, 1, []byte("x"))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := h.Stats().Counts[tt.count]
			for _, f := range tt.frames {
				w.send(f, frame.Offload{})
			}
			if !eventually(func() bool { return h.Stats().Counts[tt.count] == before+1 }) {
				t.Errorf("%s not counted: %v", tt.count, h.Stats().Counts)
			}
			time.Sleep(20 * time.Millisecond) // a connection would be under way
			if all := h.Flows(); len(all) != 0 {
				t.Errorf("it made a flow: %+v", all)
			}
		})
	}
	t.Run("SYN that the stack has got", func(t *testing.T) { // should one pass by take
		b := frame.NewBatch()
		f := b.Append(syn(alice6, out6, 1000, tcp6.Port()))
		if r := f.Parse(); r != frame.NotDropped {
			t.Fatal(r)
		}
		before := h.Stats().Counts["destination-refused"]
		h.deliver(f)
		if h.Stats().Counts["destination-refused"] != before+1 || len(h.Flows()) != 0 {
			t.Errorf("flows %+v, counted %v", h.Flows(), h.Stats().Counts)
		}
	})
	addrServer(t, alice.listen("172.18.0.2:80"))
	p := publish(t, h, "tcp", "0.0.0.0:0", "172.18.0.2:80")
	c := bob.mustDial(p.at(outside4))
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line := make([]byte, len(gateway4.IP.String()))
	if _, err := io.ReadFull(c, line); err != nil || string(line) != gateway4.IP.String() {
		t.Errorf("a client is seen as %q, want the gateway: %v", line, err)
	}
}
