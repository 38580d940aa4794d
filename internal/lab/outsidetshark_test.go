package lab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/nettest"
)

// TestOutsideTshark shows what was translated to a decoder of others: all checksums are
// good, that of the packet that an error quotes whole among them, and on each side there
// are none but its own addresses.
func TestOutsideTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		nettest.Skip(t, "tshark is not installed")
	}
	inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	for _, c := range outsideCases() {
		for _, port := range []string{"a", "b", "world"} {
			path := outPath(filepath.Join(goldenDir, c.name, "out"), port)
			frames := readAll(t, path)
			if len(frames) != len(c.out[port]) {
				t.Errorf("%s: %d frames, expected %d", path, len(frames), len(c.out[port]))
			}
			for i, f := range tsharkFields(t, tshark, path) {
				where := fmt.Sprintf("%s, frame %d", path, i+1)
				for _, sum := range slices.Concat(f["ip.checksum.status"], f["tcp.checksum.status"], f["udp.checksum.status"], f["icmp.checksum.status"], f["icmpv6.checksum.status"]) {
					// 1 is good; 2 is that of a packet which is not there as a whole.
					if whole := len(f["ip.flags.mf"]) < 2 && c.name != "nat-fragments"; sum != "1" && (whole || sum != "2") {
						t.Errorf("%s: checksum status %s", where, sum)
					}
				}
				if len(f["_ws.malformed"]) > 0 {
					t.Errorf("%s is malformed", where)
				}
				for _, field := range []string{"ip.src", "ip.dst", "ipv6.src", "ipv6.dst"} {
					for _, s := range f[field] {
						a := netip.MustParseAddr(s)
						isInside := slices.ContainsFunc(inside, func(p netip.Prefix) bool { return p.Contains(a) })
						if port == "world" && isInside {
							t.Errorf("%s: %s is %s, which is inside", where, field, a)
						}
						if own := slices.Contains(own, a); port == "a" && own && c.name != "nat-hairpin" && c.name != "nat-ping" && c.name != "nat-refused" {
							t.Errorf("%s: %s is %s, the node's own outside", where, field, a)
						}
					}
				}
			}
		}
	}
}

// tsharkFields returns fields of each frame of a capture, those of quoted packets after
// those of the packet itself.
func tsharkFields(t *testing.T, tshark, path string) (all []map[string][]string) {
	names := []string{"frame.number", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.flags.mf", "_ws.malformed",
		"ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status"}
	args := []string{"-r", path, "-n", "-T", "fields", "-E", "separator=|"}
	for _, name := range names {
		args = append(args, "-e", name)
	}
	for _, proto := range []string{"ip", "tcp", "udp"} {
		args = append(args, "-o", proto+".check_checksum:TRUE")
	}
	cmd := exec.Command(tshark, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		f := map[string][]string{}
		for i, v := range strings.Split(strings.TrimSuffix(line, "\n"), "|") {
			if v != "" {
				f[names[i]] = strings.Split(v, ",")
			}
		}
		all = append(all, f)
	}
	return all
}
