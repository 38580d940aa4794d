package arp_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"weft/arp"
	"weft/internal/frame"
)

func addr(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, n}) }

func TestTableStaticWins(t *testing.T) {
	tab := arp.NewTable(4)
	tab.Learn(ipA, macB, 5)
	if err := tab.SetStatic(ipA, macA); err != nil {
		t.Fatal(err)
	}
	tab.Learn(ipA, macC, 6)
	if m, ok := tab.Lookup(ipA); !ok || m != macA {
		t.Fatalf("%v %v, want the static %v", m, ok, macA)
	}
	tab.Expire(1000, 1)
	if _, ok := tab.Lookup(ipA); !ok {
		t.Fatal("a static entry expired")
	}
	tab.Remove(ipA)
	if _, ok := tab.Lookup(ipA); ok {
		t.Fatal("removed and still there")
	}
}

func TestTableAges(t *testing.T) {
	tab := arp.NewTable(4)
	tab.Learn(addr(1), macA, 10)
	tab.Learn(addr(2), macB, 10)
	tab.Learn(addr(2), macB, 30) // heard again
	tab.Learn(addr(3), macA, 10)
	tab.Learn(addr(3), macC, 12) // moved
	tab.Learn(addr(4), macC, 45) // a worker's clock ahead of ours
	tab.Expire(40, 29)
	want := []arp.Entry{{Addr: addr(2), MAC: macB, Seen: 30}, {Addr: addr(3), MAC: macC, Seen: 12}, {Addr: addr(4), MAC: macC, Seen: 45}}
	got := tab.Entries()
	if len(got) != len(want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
}

func TestTableBounded(t *testing.T) {
	tab := arp.NewTable(3)
	for n := range byte(5) {
		tab.Learn(addr(n+1), macA, uint32(n))
	}
	if n := len(tab.Entries()); n != 3 || tab.Full() != 2 {
		t.Fatalf("%d entries, %d refused, want 3 and 2", n, tab.Full())
	}
	for n := range byte(3) {
		if err := tab.SetStatic(addr(n+10), macB); err != nil {
			t.Fatalf("a static entry did not evict a learned one: %v", err)
		}
		if _, ok := tab.Lookup(addr(n + 1)); ok {
			t.Fatalf("%v should have been evicted, being the oldest", addr(n+1))
		}
	}
	if err := tab.SetStatic(addr(20), macB); !errors.Is(err, arp.ErrFull) {
		t.Fatalf("full: %v", err)
	}
	if err := tab.SetStatic(addr(10), macC); err != nil {
		t.Fatalf("a known neighbour could not be changed in a full table: %v", err)
	}
}

func TestTableRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		addr netip.Addr
		mac  frame.MAC
	}{
		{"no address", netip.Addr{}, macA},
		{"unspecified", ip0, macA},
		{"unspecified 6", netip.IPv6Unspecified(), macA},
		{"multicast", netip.MustParseAddr("224.0.0.1"), macA},
		{"broadcast", netip.MustParseAddr("255.255.255.255"), macA},
		{"loopback", netip.MustParseAddr("::1"), macA},
		{"mapped", netip.MustParseAddr("::ffff:10.0.0.1"), macA},
		{"zone", netip.MustParseAddr("fe80::1%eth0"), macA},
		{"group MAC", ipA, broadcast},
		{"zero MAC", ipA, frame.MAC{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := arp.NewTable(3)
			tab.Learn(c.addr, c.mac, 1)
			if err := tab.SetStatic(c.addr, c.mac); err == nil || len(tab.Entries()) != 0 {
				t.Fatalf("taken: %v %+v", err, tab.Entries())
			}
		})
	}
}

// TestTableConcurrent reads while others write; -race watches.
func TestTableConcurrent(t *testing.T) {
	tab := arp.NewTable(64)
	var wg sync.WaitGroup
	for w := range byte(4) {
		wg.Go(func() {
			for n := range 200 {
				tab.Learn(addr(byte(n%50)+1), frame.MAC{2, w}, uint32(n))
				tab.Lookup(addr(byte(n % 50)))
				if n%50 == 0 {
					tab.Expire(uint32(n), 10)
					_ = tab.SetStatic(addr(200+w), macA)
				}
			}
		})
	}
	wg.Wait()
	for w := range byte(4) {
		if m, _ := tab.Lookup(addr(200 + w)); m != macA {
			t.Fatalf("static entry %d lost", w)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	tab := table(t)
	request := arpFrame(t, broadcast, 0, arp.Packet{Op: arp.OpRequest, SenderMAC: macA, SenderIP: ipA, TargetIP: ipB})
	solicit := ndFrame(t, 0, 255, ns(ll(0xa), ll(0xb)))
	b := frame.NewBatch()
	for _, c := range []struct {
		name string
		data []byte
	}{{"ARP", request}, {"ND", solicit}} {
		n := testing.AllocsPerRun(100, func() {
			b.Reset()
			f := b.Append(c.data)
			f.Parse()
			a, m, _ := arp.Sender(f)
			tab.Learn(a, m, 1)
			if tab.Answer(f) != arp.Reply {
				t.Fatal("not answered")
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	now := uint32(1)
	if n := testing.AllocsPerRun(100, func() {
		now++
		tab.Learn(addr(90), frame.MAC{2, byte(now)}, now)
	}); n != 0 {
		t.Errorf("a neighbour that moves all the time: %v allocations", n)
	}
	if m, _ := tab.Lookup(addr(90)); m != (frame.MAC{2, byte(now)}) {
		t.Errorf("%v, want the place it moved to last", m)
	}
}

// FuzzAnswer holds every answer to three rules: no panic, what is not answered is
// not touched, and an answer is well formed and says what the table says.
func FuzzAnswer(f *testing.F) {
	f.Add(arpFrame(f, broadcast, 0, arp.Packet{Op: arp.OpRequest, SenderMAC: macA, SenderIP: ipA, TargetIP: ipB}))
	f.Add(ndFrame(f, 7, 255, ns(ll(0xa), ll(0xb))))
	f.Add(ndFrame(f, 0, 255, ns(netip.IPv6Unspecified(), ll(0xb))))
	f.Add(fragment(ndFrame(f, 0, 255, ns(ll(0xa), ll(0xb)))))
	tab := table(f)
	b := frame.NewBatch()
	f.Fuzz(func(t *testing.T, data []byte) {
		b.Reset()
		fr := b.Append(data)
		if fr == nil || fr.Parse() != frame.NotDropped {
			return
		}
		_, _, claimed := arp.Sender(fr)
		v := tab.Answer(fr)
		if v != arp.Reply {
			if string(fr.Bytes()) != string(data) {
				t.Fatal("changed and not answered")
			}
			return
		}
		if !claimed {
			t.Fatal("answered a sender who claims nothing")
		}
		if r := fr.Parse(); r != frame.NotDropped {
			t.Fatalf("the answer is %v", r)
		}
		a, m, ok := arp.Sender(fr)
		if want, known := tab.Lookup(a); !ok || !known || m != want || fr.SrcMAC() != want {
			t.Fatalf("answered %v at %x, the table has %x", a, m, want)
		}
	})
}
