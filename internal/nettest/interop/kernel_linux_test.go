package interop

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// The underlay of these tests: a veth pair, u0 here with the node's VTEP, u1 in
// the namespace "far" with the other's.
const (
	near4, near6   = "10.9.0.1", "fd09::1"
	there4, there6 = "10.9.0.2", "fd09::2"
)

func cable(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { run(t, "ip", "link", "del", "u0"); run(t, "ip", "netns", "del", "far") })
	ip(t, `netns add far
		link add u0 type veth peer name u1 netns far
		addr add 10.9.0.1/24 dev u0
		addr add fd09::1/64 dev u0 nodad
		link set u0 up
		-n far addr add 10.9.0.2/24 dev u1
		-n far addr add fd09::2/64 dev u1 nodad
		-n far link set lo up
		-n far link set u1 up`)
}

// kernelDevice makes the kernel's VXLAN device at the far end. Its MTU is the
// user's to set, as the underlay's device is not named.
func kernelDevice(t *testing.T, options string) {
	t.Helper()
	mtu := "1450"
	if strings.Contains(options, there6) {
		mtu = "1430"
	}
	ip(t, `-n far link add vx0 mtu `+mtu+` address `+farInner+` type vxlan id `+strconv.Itoa(vni)+` dstport 4789 `+options+`
		-n far addr add `+far4+`/24 dev vx0
		-n far addr add `+far6+`/64 dev vx0 nodad
		-n far link set vx0 up`)
}

func TestKernel(t *testing.T) {
	isolated(t, func(t *testing.T) {
		for _, c := range []struct {
			name, near, there, options string
			static                     bool   // the far FDB is filled by hand
			megabytes                  string // in each direction
		}{
			{"learning", near4, there4, "local 10.9.0.2 remote 10.9.0.1 udpcsum", false, "100"},
			{"static, no checksums", near4, there4, "local 10.9.0.2 nolearning noudpcsum", true, "10"},
			{"learning, IPv6", near6, there6, "local fd09::2 remote fd09::1 udpcsum", false, "10"},
			{"static, no checksums, IPv6", near6, there6, "local fd09::2 nolearning udp6zerocsumtx udp6zerocsumrx", true, "100"},
		} {
			t.Run(c.name, func(t *testing.T) {
				cable(t)
				n := openNode(t, c.near)
				n.overlay(t, c.there)
				box := n.serve(t)
				kernelDevice(t, c.options)
				if c.static {
					must(t, "bridge", "-n", "far", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", c.near)
					must(t, "bridge", "-n", "far", "fdb", "append", box.MAC.String(), "dev", "vx0", "dst", c.near)
				}
				start(t, in("far", weft(), "tool", "serve")...)
				wireOnly(t, "far", "u1")
				exchange(t, n, c.megabytes)
			})
		}
	})
}

// exchange tries all kinds of traffic between the sandbox and the far end.
func exchange(t *testing.T, n *testNode, megabytes string) {
	t.Helper()
	box := n.endpoint(t)
	near4, near6 := box.IPv4.Addr().String(), box.IPv6.Addr().String()
	far := func(args ...string) { t.Helper(); must(t, in("far", args...)...) }
	for _, a := range []string{far4, far6} {
		n.mustBox(t, "ping", "-c", "2", "-i", "0.1", "-W", "2", a)
	}
	for _, a := range []string{near4, near6} {
		far("ping", "-c", "2", "-i", "0.1", "-W", "2", a)
	}
	learned(t, n)
	jumbo(t, n, box.MTU)
	n.mustBox(t, weft(), "tool", "send", "-m", megabytes, far4)
	far(weft(), "tool", "send", "-m", megabytes, near4)
	n.mustBox(t, weft(), "tool", "send", "-m", "10", far6)
	far(weft(), "tool", "send", "-m", "10", "["+near6+"]:5201")
	for _, size := range []string{"1000", "4000"} { // the latter in fragments
		n.mustBox(t, weft(), "tool", "blast", "-s", size, "-t", "50ms", far4)
		far(weft(), "tool", "blast", "-s", size, "-t", "50ms", near4)
	}
	n.mustBox(t, weft(), "tool", "blast", "-t", "50ms", "["+far6+"]:5201")
}

// learned checks that the far station's address stands in the FDB, on its VTEP.
func learned(t *testing.T, n *testNode) {
	t.Helper()
	rows, err := n.FDB("over")
	if err != nil {
		t.Fatal(err)
	}
	want := n.peer(t).Peer.String()
	for _, r := range rows {
		if r.MAC.String() == farInner {
			if !strings.Contains(r.Port, want) || r.Static {
				t.Errorf("%s is on %q, expected %s", farInner, r.Port, want)
			}
			return
		}
	}
	t.Errorf("%s was not learned: %+v", farInner, rows)
}

// jumbo pings with what just fits, which must pass whole, and with a byte more,
// which the sandbox's own interface refuses.
func jumbo(t *testing.T, n *testNode, mtu int) {
	t.Helper()
	want := 1450
	if n.peer(t).Peer.Addr().Is6() {
		want = 1430
	}
	if mtu != want || n.peer(t).MTU != want {
		t.Errorf("MTU %d, of the tunnel %d, expected %d", mtu, n.peer(t).MTU, want)
	}
	for _, to := range []string{far4, far6} {
		headers := 28
		if netip.MustParseAddr(to).Is6() {
			headers = 48
		}
		n.mustBox(t, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", strconv.Itoa(want-headers), to)
		out, ok := n.box(t, "ping", "-c", "1", "-W", "0.2", "-M", "do", "-s", strconv.Itoa(want-headers+1), to)
		if ok || !strings.Contains(out, fmt.Sprintf("mtu: %d", want)) && !strings.Contains(out, fmt.Sprintf("mtu=%d", want)) {
			t.Errorf("a byte too many for %s: %v, %s", to, ok, out)
		}
	}
}
