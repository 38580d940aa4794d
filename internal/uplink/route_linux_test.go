package uplink

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

func TestRoutes(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		veth(t)
		ip(t, "addr add 192.0.2.5/24 dev u", "route add default via 192.0.2.1 dev u", "route add 198.51.100.0/24 dev k",
			"route add 203.0.113.0/24 via 192.0.2.9 dev u", "route add blackhole 203.0.113.128/25",
			"-6 addr add 2001:db8::5/64 dev u nodad", "-6 route add default via 2001:db8::77 dev u")
		routes, err := Routes("u")
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range routes {
			if r.Dst.Addr().IsMulticast() || r.Dst.Addr().IsLinkLocalUnicast() {
				continue
			}
			s := r.Dst.String()
			if r.Via.IsValid() {
				s += " via " + r.Via.String()
			}
			all = append(all, s)
		}
		slices.Sort(all)
		want := []string{"0.0.0.0/0 via 192.0.2.1", "192.0.2.0/24", "2001:db8::/64", "203.0.113.0/24 via 192.0.2.9", "::/0 via 2001:db8::77"}
		if !slices.Equal(all, want) {
			t.Errorf("routes %q, want %q", all, want)
		}
		if _, err := Routes("nowhere"); err == nil {
			t.Error("the routes of an interface that is not there")
		}
	})
}

// TestCheckPacket: an uplink is refused where the kernel would meddle, and the error
// says what to do.
func TestCheckPacket(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		veth(t)
		ip(t, "addr add 192.0.2.5/24 dev u", "route add default via 192.0.2.1 dev u", "route add local 198.51.100.0/24 dev lo",
			"-6 addr add 2001:db8::5/64 dev k nodad")
		set := func(knob, value string) {
			if err := os.WriteFile("/proc/sys/"+knob, []byte(value), 0); err != nil {
				nettest.Skip(t, "this host lets no namespace change its own settings: %v", err)
			}
		}
		tests := []struct {
			name string
			mac  frame.MAC
			addr string
			set  string
			want []string // words of the error; none: all is well
		}{
			{"another address of the subnet", macOwn, "192.0.2.6", "", nil},
			{"one beyond", frame.MAC{}, "10.9.9.9", "", nil},
			{"the interface's own", macOwn, "192.0.2.5", "", []string{"the kernel has 192.0.2.5 itself on u", "ip addr del 192.0.2.5/24 dev u", "--uplink-addr"}},
			{"another interface's", macOwn, "2001:db8::5", "", []string{"2001:db8::5 itself on k"}},
			{"taken for local by a route", macOwn, "198.51.100.7", "", []string{"the kernel has 198.51.100.7 itself"}},
			{"its MAC, and the kernel routes", frame.MAC{}, "192.0.2.6", "net/ipv4/conf/u/forwarding", []string{"net/ipv4/conf/u/forwarding is 1"}},
			{"a MAC of its own, and the kernel routes", macOwn, "192.0.2.6", "net/ipv4/conf/u/forwarding", nil},
			{"its MAC as if its own", macU, "2001:db8::6", "net/ipv6/conf/all/forwarding", []string{"net/ipv6/conf/all/forwarding is 1"}},
			{"the other family is routed", frame.MAC{}, "2001:db8::6", "net/ipv4/conf/u/forwarding", nil},
		}
		for _, tt := range tests {
			if tt.set != "" {
				set(tt.set, "1")
			}
			err := CheckPacket(PacketConfig{Interface: "u", MAC: tt.mac, Addrs: []netip.Addr{netip.MustParseAddr(tt.addr)}})
			if tt.set != "" {
				set(tt.set, "0")
			}
			if len(tt.want) == 0 && err != nil || len(tt.want) > 0 && err == nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			for _, w := range tt.want {
				if err != nil && !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %v, want %q in it", tt.name, err, w)
				}
			}
		}
		if err := CheckPacket(PacketConfig{Interface: "nowhere"}); err == nil {
			t.Error("an interface that is not there")
		}
	})
}
