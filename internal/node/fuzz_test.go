package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"testing"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/internal/keyring"
	"weft/ipsec"
)

// desiredFrom makes a desired state of arbitrary bytes: few networks, few
// sandboxes, so that states differ in parts only.
func desiredFrom(b []byte) desired {
	var d desired
	seen := make(map[string]bool)
	for i, c := range b {
		id := string(rune('a' + c&3))
		if c&0x80 != 0 && !seen[id] {
			seen[id] = true
			options := map[string]string{}
			if c&0x40 != 0 {
				options["enable_icc"] = "false"
			}
			d.networks = append(d.networks, bridge(id, options, fmt.Sprintf("10.0.%d.%d", c&3, 1+c>>2&7)))
			continue
		}
		box, n := fmt.Sprintf("box%d", c>>2&7), i&3
		if key := id + box; !seen[key] {
			seen[key] = true
			e := at(id, box, fmt.Sprintf("eth%d", c&3), fmt.Sprintf("10.0.%d.%d/24", c&3, 16+(c>>2&7)*4+byte(n)))
			e.MTU += int(c >> 5 & 1)
			d.endpoints = append(d.endpoints, e)
		}
	}
	return d
}

// apply is what dataPath.apply does, on a plan instead of a switch; it finds steps
// that come before what they need.
func (p plan) apply(t *testing.T, s step) {
	t.Helper()
	dom, ok := p[s.network]
	if (s.op == addDomain) == ok {
		t.Fatalf("%s: network is there: %v", s, ok)
	}
	switch s.op {
	case addDomain:
		dom = s.domain
		dom.ports, dom.neighbours = make(map[portKey]portPlan), make(map[netip.Addr]frame.MAC)
		p[s.network] = dom
	case removeDomain:
		if len(dom.ports) > 0 {
			t.Fatalf("%s: it has ports", s)
		}
		delete(p, s.network)
	case addPort:
		if _, ok := dom.ports[s.key]; ok {
			t.Fatalf("%s: it is there already", s)
		}
		dom.ports[s.key] = s.port
	case removePort:
		if _, ok := dom.ports[s.key]; !ok {
			t.Fatalf("%s: it is not there", s)
		}
		delete(dom.ports, s.key)
	case setNeighbour:
		dom.neighbours[s.addr] = s.mac
	case removeNeighbour:
		delete(dom.neighbours, s.addr)
	}
}

// The steps between any two plans lead from the one to the other, in an order
// that can be carried out.
func FuzzDifference(f *testing.F) {
	f.Add([]byte{0x80, 1, 0x81, 5}, []byte{0x80, 1})
	f.Add([]byte{0x80, 4, 8, 12, 0xc1, 1, 5}, []byte{0xc0, 4, 0x81, 33, 5})
	f.Add([]byte{}, []byte{0x82, 2, 6, 10, 14, 0x80, 0, 4})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		from, to := makePlan(desiredFrom(a)), makePlan(desiredFrom(b))
		state := makePlan(desiredFrom(a))
		for _, s := range difference(from, to) {
			state.apply(t, s)
		}
		if left := difference(state, to); len(left) > 0 {
			t.Errorf("left to do: %v", left)
		}
		for id, want := range to {
			got := state[id]
			if !maps.Equal(got.neighbours, want.neighbours) || !maps.EqualFunc(got.ports, want.ports, portPlan.equal) {
				t.Errorf("network %s: %+v, want %+v", id, got, want)
			}
		}
	})
}

func FuzzUnseal(f *testing.F) {
	b, _ := seal(networkRecord{cnm.Network{ID: "a"}})
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r networkRecord
		if unseal(b, &r) != nil {
			return
		}
		again, err := seal(r)
		if err != nil {
			t.Fatal(err)
		}
		var q networkRecord
		if err := unseal(again, &q); err != nil {
			t.Errorf("%+v cannot be read back: %v", r, err)
		}
	})
}

func FuzzLogLine(f *testing.F) {
	f.Add([]byte(`{"log":"hello\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}` + "\n"))
	f.Add([]byte(`{"log":1}`))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLogLine(b); err == nil && len(l.Text) > 3*len(b) {
			t.Errorf("%d bytes of text from %d", len(l.Text), len(b))
		}
	})
}

func FuzzRoute(f *testing.F) {
	f.Add("eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0")
	f.Add("Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT")
	f.Fuzz(func(t *testing.T, line string) {
		if p, ok := parseRoute(line); ok && (!p.IsValid() || p != p.Masked()) {
			t.Errorf("%q: %s", line, p)
		}
	})
}

func TestParseRoute(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0", "192.0.2.0/24"},
		{"eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0", "0.0.0.0/0"},
		{"eth0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0", "172.17.0.0/16"},
		{"Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask", "invalid Prefix"},
		{"eth0	00	00", "invalid Prefix"},
	} {
		if p, _ := parseRoute(c.line); p.String() != c.want {
			t.Errorf("%q: %s, want %s", c.line, p, c.want)
		}
	}
}

// FuzzHearMarked: of what comes behind the non-ESP marker, nothing counts that was not
// made with the secret.
func FuzzHearMarked(f *testing.F) {
	psk, err := ipsec.NewPSK([]byte("correct horse battery staple"))
	if err != nil {
		f.Fatal(err)
	}
	own, peer := netip.MustParseAddrPort("192.0.2.1:4500"), netip.MustParseAddrPort("192.0.2.2:4500")
	k, err := ipsec.NewEpochKey(ipsec.Announcement{Node: peer.String(), VTEP: peer, Generation: 1, Epoch: 7, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 2}, ipsec.AES{})
	if err != nil {
		f.Fatal(err)
	}
	good, err := ipsec.Encode(k.Announcement(), psk.Sign)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(announceMagic), good...), true)
	f.Add(append([]byte(announceMagic), good...), false)
	f.Add([]byte(announceMagic), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, datagram []byte, fromPeer bool) {
		n := &Node{marked: make(chan marked, 1), keyFaults: make(map[string]string), log: slog.New(slog.DiscardHandler)}
		r := &ring{psk: psk, toTell: map[netip.AddrPort]*telling{peer: {}}, Ring: keyring.New(keyring.Config{
			Sign: psk.Sign, Own: ipsec.Announcement{Node: own.String(), VTEP: own, Generation: 1, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 1},
		})}
		n.rings = map[ringKey]*ring{{algorithm: ipsec.AES256GCM, esn: true, secret: "x"}: r}
		from := peer
		if !fromPeer {
			from = netip.MustParseAddrPort("192.0.2.9:4500")
		}
		n.takeMarked(from, datagram)
		select {
		case m := <-n.marked:
			if len(m.datagram) > ipsec.MaxAnnouncement {
				t.Fatalf("%d bytes wait", len(m.datagram))
			}
			n.hearMarked(m) // of an epoch that has not begun: nothing is published
		default:
		}
		if len(r.Status()) == 0 {
			return
		}
		rest, ours := bytes.CutPrefix(datagram, []byte(announceMagic))
		a, err := ipsec.Decode(rest, psk.Verify)
		if !ours || !fromPeer || err != nil || a.VTEP != peer || a.Node != peer.String() || a.Algorithm != ipsec.AES256GCM || !a.ESN {
			t.Fatalf("believed: %x", datagram)
		}
	})
}
