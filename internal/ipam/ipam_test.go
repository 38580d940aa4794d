package ipam

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func pfx(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func ip(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func newAllocator(t testing.TB) *Allocator {
	t.Helper()
	a, err := New("node", nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustRequest(t testing.TB, a *Allocator, r Request) *Pool {
	t.Helper()
	p, err := a.Request(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustAllocate(t testing.TB, p *Pool) netip.Addr {
	t.Helper()
	x, err := p.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// The golden cases of docker-networking.md §2.3 and §10 (a), (c), (d), and of
// its table of source C: what Docker gives to the gateway and to the first
// endpoints.
func TestGolden(t *testing.T) {
	ingress := []netip.Prefix{pfx("10.0.0.0/24")}
	for _, c := range []struct {
		name    string
		r       Request
		gateway string
		want    []string
	}{
		{"bridge with gateway", Request{Subnet: pfx("10.0.0.0/24"), Gateway: ip("10.0.0.1")}, "10.0.0.1", []string{"10.0.0.2", "10.0.0.3"}},
		{"bridge without", Request{Subnet: pfx("172.19.0.0/16")}, "172.19.0.1", []string{"172.19.0.2", "172.19.0.3"}},
		{"macvlan of source D", Request{Subnet: pfx("192.168.0.0/16"), Range: pfx("192.168.41.0/24"), Gateway: ip("192.168.0.1"),
			Aux: map[string]netip.Addr{"net": ip("192.168.41.0"), "a": ip("192.168.41.1"), "b": ip("192.168.41.2")}}, "192.168.0.1", []string{"192.168.41.3"}},
		{"source D-12 as it stands", Request{Subnet: pfx("192.168.0.0/16"), Range: pfx("192.168.41.0/24"), Gateway: ip("192.168.41.1"),
			Aux: map[string]netip.Addr{"favorite_ip_ever": ip("192.168.41.2")}}, "192.168.41.1", []string{"192.168.41.3"}},
		{"range of one address", Request{Subnet: pfx("10.0.0.0/16"), Range: pfx("10.0.1.0/32"), Gateway: ip("10.0.0.1")}, "10.0.0.1", []string{"10.0.1.0"}},
		{"range of several /24", Request{Subnet: pfx("10.0.0.0/16"), Range: pfx("10.0.2.0/23"), Gateway: ip("10.0.0.1")}, "10.0.0.1", []string{"10.0.2.1"}},
		{"IPv6 range", Request{Subnet: pfx("fd00:1::/64"), Range: pfx("fd00:1::100/120"), Gateway: ip("fd00:1::1")}, "fd00:1::1", []string{"fd00:1::100"}},
		{"source E host A", Request{Subnet: pfx("192.168.1.0/24"), Range: pfx("192.168.1.0/28"), Gateway: ip("192.168.1.100"),
			Aux: map[string]netip.Addr{"DefaultGatewayIPv4": ip("192.168.1.1")}}, "192.168.1.100", []string{"192.168.1.2"}},
		{"source E host B", Request{Subnet: pfx("192.168.1.0/24"), Range: pfx("192.168.1.32/28"), Gateway: ip("192.168.1.101"),
			Aux: map[string]netip.Addr{"DefaultGatewayIPv4": ip("192.168.1.1")}}, "192.168.1.101", []string{"192.168.1.32"}},
		{"gateway from the range", Request{Subnet: pfx("172.28.0.0/16"), Range: pfx("172.28.5.0/24")}, "172.28.5.0", []string{"172.28.5.1"}},
		{"aux after gateway", Request{Subnet: pfx("10.0.0.0/24"), Aux: map[string]netip.Addr{"r": ip("10.0.0.2")}}, "10.0.0.1", []string{"10.0.0.3"}},
		{"IPv6", Request{Subnet: pfx("fd00:1::/64")}, "fd00:1::1", []string{"fd00:1::2", "fd00:1::3"}},
		{"no gateway", Request{Subnet: pfx("10.0.0.0/24"), NoGateway: true}, "", []string{"10.0.0.1"}},
		{"first default", Request{}, "172.17.0.1", []string{"172.17.0.2"}},
		{"any /24", Request{Subnet: pfx("0.0.0.0/24")}, "172.17.0.1", []string{"172.17.0.2"}},
		{"first overlay", Request{From: Overlays(), Avoid: ingress}, "10.0.1.1", []string{"10.0.1.2"}},
		{"overlay of a /16", Request{From: Overlays(), Avoid: ingress, Subnet: pfx("0.0.0.0/16")}, "10.1.0.1", []string{"10.1.0.2"}},
		{"overlay of a /26", Request{From: Overlays(), Avoid: ingress, Subnet: pfx("0.0.0.0/26")}, "10.0.1.1", []string{"10.0.1.2"}},
		{"overlay on ingress by name", Request{From: Overlays(), Avoid: ingress, Subnet: pfx("10.0.0.0/24")}, "10.0.0.1", []string{"10.0.0.2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustRequest(t, newAllocator(t), c.r)
			if p.Gateway != ip(c.gateway) {
				t.Fatalf("gateway %s, want %s", p.Gateway, c.gateway)
			}
			for _, w := range c.want {
				if x := mustAllocate(t, p); x != ip(w) {
					t.Fatalf("allocated %s, want %s", x, w)
				}
			}
		})
	}
}

// Overlays lie in each other's way and in that of other networks, lowest first.
func TestOverlayPools(t *testing.T) {
	a := newAllocator(t)
	mustRequest(t, a, Request{Subnet: pfx("10.0.2.0/23")})
	var got []string
	var pools []*Pool
	for range 3 {
		p := mustRequest(t, a, Request{From: Overlays()})
		got, pools = append(got, p.Subnet.String()), append(pools, p)
	}
	pools[1].Close()
	got = append(got, mustRequest(t, a, Request{From: Overlays()}).Subnet.String(), mustRequest(t, a, Request{}).Subnet.String())
	if want := "[10.0.0.0/24 10.0.1.0/24 10.0.4.0/24 10.0.1.0/24 172.17.0.0/16]"; fmt.Sprint(got) != want {
		t.Errorf("subnets %v, want %s", got, want)
	}
	if _, err := a.Request(Request{From: Overlays(), IPv6: true}); !errors.Is(err, ErrNoPools) {
		t.Errorf("an IPv6 subnet of the overlays' pools: %v", err)
	}
}

func TestDefaultPools(t *testing.T) {
	a := newAllocator(t)
	var got []string
	var pools []*Pool
	for {
		p, err := a.Request(Request{})
		if err != nil {
			if !errors.Is(err, ErrNoPools) || err.Error() != "all predefined address pools have been fully subnetted" {
				t.Fatalf("error %v", err)
			}
			break
		}
		got, pools = append(got, p.Subnet.String()), append(pools, p)
	}
	if len(got) != 31 || got[0] != "172.17.0.0/16" || got[14] != "172.31.0.0/16" || got[15] != "192.168.0.0/20" || got[30] != "192.168.240.0/20" {
		t.Fatalf("default subnets %v", got)
	}
	pools[3].Close()
	pools[3].Close()
	if p := mustRequest(t, a, Request{}); p.Subnet != pools[3].Subnet {
		t.Fatalf("after release %s, want %s", p.Subnet, pools[3].Subnet)
	}
	avoided, err := newAllocator(t).Request(Request{Avoid: []netip.Prefix{pfx("0.0.0.0/0"), pfx("172.17.5.9/32"), pfx("172.18.0.1/15"), pfx("fd00::/8")}})
	if err != nil || avoided.Subnet != pfx("172.20.0.0/16") {
		t.Fatalf("beside the host's routes: %+v, %v", avoided, err)
	}
	if _, err := newAllocator(t).Request(Request{Avoid: []netip.Prefix{pfx("172.16.0.0/12"), pfx("192.168.0.0/16")}}); !errors.Is(err, ErrNoPools) {
		t.Fatalf("error %v, want no pools", err)
	}
	// Explicit subnets are not held against routes.
	mustRequest(t, newAllocator(t), Request{Subnet: pfx("10.0.0.0/8"), Avoid: []netip.Prefix{pfx("10.0.0.0/8")}})
}

func TestULA(t *testing.T) {
	u := ULA("node")
	if u != ULA("node") || u == ULA("other") || u.Bits() != 48 || u.Addr().As16()[0] != 0xfd {
		t.Fatalf("ULA = %s", u)
	}
	a := newAllocator(t)
	one, two := mustRequest(t, a, Request{IPv6: true}), mustRequest(t, a, Request{IPv6: true})
	if one.Subnet != netip.PrefixFrom(u.Addr(), 64) || two.Subnet.Addr() != lastOf(one.Subnet).Next() {
		t.Fatalf("subnets %s and %s of %s", one.Subnet, two.Subnet, u)
	}
}

func TestOverlap(t *testing.T) {
	a := newAllocator(t)
	mustRequest(t, a, Request{Owner: "net1 (abc)", Subnet: pfx("10.0.0.0/16")})
	for _, c := range []struct{ name, subnet, ipRange, want string }{
		{"same", "10.0.0.0/16", "", "invalid pool request: Pool overlaps with other one on this address space: 10.0.0.0/16 and 10.0.0.0/16 of network net1 (abc)"},
		{"smaller", "10.0.3.0/24", "", "Pool overlaps"},
		{"larger", "10.0.0.0/8", "", "Pool overlaps"},
		{"beside", "10.1.0.0/16", "", ""},
		{"same with a range", "10.0.0.0/16", "10.0.5.0/24", ""},
		{"same with the same range", "10.0.0.0/16", "10.0.5.0/24", "Pool overlaps"},
		{"same with another range", "10.0.0.0/16", "10.0.6.0/24", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := a.Request(Request{Subnet: pfx(c.subnet), Range: pfx(c.ipRange)})
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrOverlap)) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
}

// Pools over one subnet share its addresses; the last one takes them along.
func TestShared(t *testing.T) {
	a := newAllocator(t)
	one := mustRequest(t, a, Request{Subnet: pfx("10.0.0.0/24"), Gateway: ip("10.0.0.1")})
	two := mustRequest(t, a, Request{Subnet: pfx("10.0.0.0/24"), Range: pfx("10.0.0.0/29"), Gateway: ip("10.0.0.9")})
	if x, y := mustAllocate(t, one), mustAllocate(t, two); x != ip("10.0.0.2") || y != ip("10.0.0.3") {
		t.Fatalf("allocated %s and %s", x, y)
	}
	if err := two.Release(one.Gateway); !errors.Is(err, ErrNotInUse) {
		t.Fatalf("the other pool's gateway was released: %v", err)
	}
	one.Close()
	if _, err := one.Allocate(); !errors.Is(err, ErrReleased) {
		t.Fatalf("allocated from a closed pool: %v", err)
	}
	if err := two.Reserve(ip("10.0.0.1")); err != nil { // free again
		t.Fatal(err)
	}
	two.Close()
	if x := mustRequest(t, a, Request{Subnet: pfx("10.0.0.0/24")}); x.Gateway != ip("10.0.0.1") {
		t.Fatalf("gateway %s: the subnet was not forgotten", x.Gateway)
	}
}

func TestRequestErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Request
		is   error
		want string
	}{
		{"host bits", Request{Subnet: pfx("10.0.0.1/24")}, ErrInvalidPool, "10.0.0.1/24"},
		{"range outside", Request{Subnet: pfx("10.0.0.0/24"), Range: pfx("10.0.1.0/28")}, ErrInvalidPool, "does not lie in subnet"},
		{"range larger", Request{Subnet: pfx("10.0.0.0/24"), Range: pfx("10.0.0.0/16")}, ErrInvalidPool, "does not lie in subnet"},
		{"gateway alone", Request{Gateway: ip("10.0.0.1")}, ErrInvalidPool, "need a subnet"},
		{"gateway outside", Request{Subnet: pfx("10.0.0.0/24"), Gateway: ip("10.0.1.1")}, ErrOutOfRange, "failed to allocate gateway (10.0.1.1): requested address is out of range"},
		{"gateway is network", Request{Subnet: pfx("10.0.0.0/24"), Gateway: ip("10.0.0.0")}, ErrInUse, "failed to allocate gateway (10.0.0.0): Address already in use"},
		{"aux is gateway", Request{Subnet: pfx("10.0.0.0/24"), Aux: map[string]netip.Addr{"r": ip("10.0.0.1")}}, ErrInUse, "failed to allocate secondary ip address (r:10.0.0.1): Address already in use"},
		{"range is full", Request{Owner: "n (1)", Subnet: pfx("10.0.0.0/24"), Range: pfx("10.0.0.0/32")}, ErrExhausted, "no available IPv4 addresses on this network's address pools: n (1)"},
		{"remote driver", Request{Driver: "infoblox"}, ErrUnsupported, `"infoblox"`},
		{"dhcp", Request{Driver: "dhcp"}, ErrUnsupported, `"dhcp"`},
		{"null with subnet", Request{Driver: "null", Subnet: pfx("10.0.0.0/24")}, ErrInvalidPool, "null ipam driver does not handle specific address pool requests"},
		{"any too large", Request{Subnet: pfx("0.0.0.0/8")}, ErrNoPools, "none of size /8 is free"},
		{"any too small", Request{Subnet: pfx("0.0.0.0/32")}, ErrInvalidPool, "no subnet has size /32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAllocator(t)
			_, err := a.Request(c.r)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if len(a.spaces) != 0 {
				t.Fatal("a failed request left a subnet behind")
			}
		})
	}
}

func TestExhaustionAndReuse(t *testing.T) {
	p := mustRequest(t, newAllocator(t), Request{Owner: "n (1)", Subnet: pfx("10.0.0.0/29")})
	var all []netip.Addr
	for {
		x, err := p.Allocate()
		if err != nil {
			if !errors.Is(err, ErrExhausted) || err.Error() != "no available IPv4 addresses on this network's address pools: n (1)" {
				t.Fatalf("error %v", err)
			}
			break
		}
		all = append(all, x)
	}
	if len(all) != 5 || all[4] != ip("10.0.0.6") {
		t.Fatalf("allocated %v: network, gateway and broadcast must be left out", all)
	}
	if used, free := p.Counts(); used != 8 || free != 0 {
		t.Fatalf("Counts = %d, %d", used, free)
	}
	if err := p.Release(all[2]); err != nil {
		t.Fatal(err)
	}
	if x := mustAllocate(t, p); x != all[2] {
		t.Fatalf("released %s, got %s", all[2], x)
	}
	for _, x := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.0.99", ""} {
		if err := p.Release(ip(x)); !errors.Is(err, ErrNotInUse) {
			t.Errorf("Release(%q) = %v", x, err)
		}
	}
}

func TestReserve(t *testing.T) {
	p := mustRequest(t, newAllocator(t), Request{Subnet: pfx("10.0.0.0/24"), Range: pfx("10.0.0.0/28")})
	if err := p.Reserve(ip("10.0.0.200"), ip("10.0.0.2")); err != nil {
		t.Fatalf("outside the range, inside the subnet: %v", err)
	}
	for _, c := range []struct {
		name, ip string
		is       error
	}{
		{"again", "10.0.0.200", ErrInUse}, {"gateway", "10.0.0.1", ErrInUse}, {"network", "10.0.0.0", ErrInUse}, {"broadcast", "10.0.0.255", ErrInUse},
		{"outside", "10.0.1.1", ErrOutOfRange}, {"IPv6", "fd00::1", ErrOutOfRange}, {"mapped", "::ffff:10.0.0.9", ErrOutOfRange}, {"nothing", "", ErrOutOfRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := p.Reserve(ip("10.0.0.77"), ip(c.ip)); !errors.Is(err, c.is) {
				t.Fatalf("Reserve = %v, want %v", err, c.is)
			}
			if err := p.Release(ip("10.0.0.77")); !errors.Is(err, ErrNotInUse) {
				t.Fatal("a failed Reserve kept an address")
			}
		})
	}
	if x := mustAllocate(t, p); x != ip("10.0.0.3") {
		t.Fatalf("allocated %s, want 10.0.0.3", x)
	}
}

func TestSerial(t *testing.T) {
	p := mustRequest(t, newAllocator(t), Request{Subnet: pfx("10.0.0.0/29"), Serial: true})
	one, two := mustAllocate(t, p), mustAllocate(t, p)
	p.Release(one)
	p.Release(two)
	var got []netip.Addr
	for range 5 {
		got = append(got, mustAllocate(t, p))
	}
	if s := fmt.Sprint(got); s != "[10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.2 10.0.0.3]" {
		t.Fatalf("allocated %s", s)
	}
	if _, err := p.Allocate(); !errors.Is(err, ErrExhausted) {
		t.Fatalf("error %v", err)
	}
}

// An allocator that is told what the one before it had, gives the same addresses.
func TestSerialGoesOn(t *testing.T) {
	one := mustRequest(t, newAllocator(t), Request{Subnet: pfx("10.0.0.0/29"), Serial: true})
	if one.Latest().IsValid() {
		t.Fatalf("latest %s before the first", one.Latest())
	}
	a, b := mustAllocate(t, one), mustAllocate(t, one)
	one.Release(b)
	two := mustRequest(t, newAllocator(t), Request{Subnet: pfx("10.0.0.0/29"), Gateway: one.Gateway, Serial: true})
	two.Resume(one.Latest())
	if err := two.Reserve(a); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if x, y := mustAllocate(t, one), mustAllocate(t, two); x != y {
			t.Fatalf("allocated %s, the restored one %s", x, y)
		}
	}
}

// Of several subnets in the way, the lowest is named, whatever the map's order.
func TestOverlapNamesLowest(t *testing.T) {
	for range 20 {
		a := newAllocator(t)
		for _, s := range []string{"10.3.0.0/16", "10.1.0.0/16", "10.2.0.0/16"} {
			mustRequest(t, a, Request{Subnet: pfx(s)})
		}
		if _, err := a.Request(Request{Subnet: pfx("10.0.0.0/8")}); err == nil || !strings.HasSuffix(err.Error(), "and 10.1.0.0/16") {
			t.Fatalf("error %v", err)
		}
	}
}

// Subnets in the way are found as by looking at each of them.
func TestOverlapping(t *testing.T) {
	a, r := newAllocator(t), rand.New(rand.NewPCG(1, 2))
	pools := map[netip.Prefix]*Pool{}
	random := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(8) * 32), 0}), 14+r.IntN(12)).Masked()
	}
	for range 3000 {
		s := random()
		var want netip.Prefix
		for p := range pools {
			if p.Overlaps(s) && (!want.IsValid() || p.Addr().Less(want.Addr())) {
				want = p
			}
		}
		var got netip.Prefix
		if sp := a.overlappingLocked(s); sp != nil {
			got = sp.subnet
		}
		if got != want || len(a.order) != len(pools) {
			t.Fatalf("%s overlaps %s, want %s; of %d subnets %d are known", s, got, want, len(pools), len(a.order))
		}
		if p := pools[s]; p != nil {
			p.Close()
			delete(pools, s)
		} else if p, err := a.Request(Request{Subnet: s}); err == nil {
			pools[s] = p
		}
	}
}

func TestNull(t *testing.T) {
	p := mustRequest(t, newAllocator(t), Request{Driver: "null"})
	if x, err := p.Allocate(); err != nil || x.IsValid() {
		t.Fatalf("Allocate = %v, %v", x, err)
	}
	if err := p.Reserve(ip("10.0.0.1")); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("Reserve = %v", err)
	}
	if err := p.Release(ip("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestNewErrors(t *testing.T) {
	for _, r := range []Range{{pfx("10.0.0.1/8"), 24}, {pfx("10.0.0.0/16"), 8}, {pfx("10.0.0.0/16"), 31}, {}, {pfx("::ffff:10.0.0.0/112"), 120}} {
		if _, err := New("n", []Range{r}); !errors.Is(err, ErrInvalidPool) {
			t.Errorf("New(%v) = %v", r, err)
		}
	}
	a, err := New("n", []Range{{pfx("10.0.0.0/8"), 24}})
	if err != nil {
		t.Fatal(err)
	}
	// 10.0.0.0/9 in one obstacle must be one step, not 32,768.
	if p := mustRequest(t, a, Request{Avoid: []netip.Prefix{pfx("10.0.0.0/9")}}); p.Subnet != pfx("10.128.0.0/24") {
		t.Fatalf("subnet %s", p.Subnet)
	}
}

// A huge subnet costs what is used of it.
func TestHuge(t *testing.T) {
	for _, c := range []struct{ name, subnet string }{{"v4 /8", "10.0.0.0/8"}, {"v6 /64", "fd00::/64"}, {"v6 /16", "fd00::/16"}} {
		t.Run(c.name, func(t *testing.T) {
			p := mustRequest(t, newAllocator(t), Request{Subnet: pfx(c.subnet)})
			for range 10000 {
				mustAllocate(t, p)
			}
			if n := len(p.space.taken.spans); n > 2 {
				t.Fatalf("%d spans for a run of addresses", n)
			}
			used, free := p.Counts()
			if want := uint64(10002); used != want && used != want+1 {
				t.Fatalf("%d in use", used)
			}
			if c.name != "v4 /8" && free < math.MaxUint64-20000 {
				t.Fatalf("%d free", free)
			}
		})
	}
}

func TestConcurrent(t *testing.T) {
	a := newAllocator(t)
	p := mustRequest(t, a, Request{Subnet: pfx("10.0.0.0/16")})
	var mu sync.Mutex
	seen := map[netip.Addr]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				x, err := p.Allocate()
				mu.Lock()
				if err != nil || seen[x] {
					t.Errorf("allocated %s twice, or %v", x, err)
				}
				seen[x] = true
				mu.Unlock()
				if q, err := a.Request(Request{}); err == nil {
					q.Close()
				}
			}
		})
	}
	wg.Wait()
}

// FuzzSet holds the span set against a map.
func FuzzSet(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0x82, 2, 5, 4})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var s set
		ref := map[byte]bool{}
		at := func(b byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, b}) }
		for _, op := range ops {
			n := op & 0x7f
			if op < 0x80 {
				if s.add(at(n)) == ref[n] {
					t.Fatalf("add %d", n)
				}
				ref[n] = true
			} else {
				if s.remove(at(n)) != ref[n] {
					t.Fatalf("remove %d", n)
				}
				delete(ref, n)
			}
		}
		if c := s.count(at(0), at(255)); c != uint64(len(ref)) {
			t.Fatalf("count %d, want %d", c, len(ref))
		}
		low := -1
		for n := byte(0); n < 0x80; n++ {
			if s.has(at(n)) != ref[n] {
				t.Fatalf("has %d", n)
			}
			if !ref[n] && low < 0 {
				low = int(n)
			}
		}
		if got, ok := s.free(at(0), at(0x7f)); ok != (low >= 0) || ok && got != at(byte(low)) {
			t.Fatalf("free %v %v, want %d", got, ok, low)
		}
		for i := 1; i < len(s.spans); i++ {
			if !s.spans[i-1].last.Next().Less(s.spans[i].first) {
				t.Fatalf("spans %v touch", s.spans)
			}
		}
	})
}
