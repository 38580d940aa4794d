package keyring

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/ipsec"
)

// start is when the virtual time of these tests begins.
var start = time.Unix(1_700_000_000, 0)

var testPSK = func() *ipsec.PSK {
	p, err := ipsec.NewPSK([]byte("correct horse battery staple"))
	if err != nil {
		panic(err)
	}
	return p
}()

var opener = ipsec.NewOpener()

// vtep is where a node of these tests sends from and receives.
func vtep(node int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(node)}), 4500)
}

func name(node int) string { return vtep(node).String() }

// newRing returns the ring of a node in one of its lives.
func newRing(node int, generation uint64) *Ring {
	return New(Config{Sign: testPSK.Sign, Own: ipsec.Announcement{
		Node: name(node), VTEP: vtep(node), Generation: generation, Algorithm: ipsec.AES128GCM, ESN: true, Workers: 2,
	}})
}

// begin begins an epoch.
func begin(t testing.TB, r *Ring, epoch uint64, now time.Time) {
	t.Helper()
	if began, err := r.Begin(epoch, now); err != nil || !began {
		t.Fatalf("epoch %d: %v, %v", epoch, began, err)
	}
}

// said is what a ring announces, verified as a receiver does.
func said(t testing.TB, r *Ring) (out []ipsec.Announcement) {
	t.Helper()
	for _, b := range r.Announcements() {
		a, err := ipsec.Decode(b, testPSK.Verify)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// meet lets two rings hear all that the other says.
func meet(t testing.TB, a, b *Ring, now time.Time) {
	t.Helper()
	for _, d := range []struct{ from, to *Ring }{{a, b}, {b, a}} {
		if _, err := d.to.Hear(now, said(t, d.from)...); err != nil {
			t.Fatal(err)
		}
	}
}

// packet seals one for a node, nil without a key.
func packet(t testing.TB, r *Ring, to string, worker int) []byte {
	t.Helper()
	keys, _ := r.Peer(to)
	if keys == nil {
		return nil
	}
	return sealed(t, keys.Outbound(worker))
}

func sealed(t testing.TB, sa *ipsec.Outbound) []byte {
	t.Helper()
	b := make([]byte, 64)
	n, r := ipsec.NewSealer().Seal(sa, b, ipsec.NextUDP, []byte("x"))
	if r == frame.NoKey {
		return nil
	}
	if r != frame.NotDropped {
		t.Fatal(r)
	}
	return b[:n]
}

// open opens a packet as the node does that has the ring.
func open(r *Ring, from int, p []byte) frame.Reason {
	table, _ := ipsec.NewTable(r.Inbound(nil))
	_, reason := opener.Open(table, vtep(from).Addr(), p)
	return reason
}

// talk sends a packet each way and says what became of them.
func talk(t testing.TB, a, b *Ring, na, nb int) string {
	t.Helper()
	way := func(from, to *Ring, nf, nt int) string {
		if p := packet(t, from, name(nt), 0); p != nil {
			return open(to, nf, p).String()
		}
		return frame.NoKey.String()
	}
	return fmt.Sprint(way(a, b, na, nb), ", ", way(b, a, nb, na))
}

// sendsBy is the generation and epoch of the pair that a ring sends to a node by.
func sendsBy(r *Ring, node int) string {
	for _, s := range r.Status() {
		for _, p := range s.Pairs {
			if s.Node == name(node) && p.State == ipsec.Sending {
				return fmt.Sprintf("%d.%d", p.Generation, p.Epoch)
			}
		}
	}
	return ""
}
