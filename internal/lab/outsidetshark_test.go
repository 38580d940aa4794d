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

// uncheckable are the frames of which tshark has not all that a checksum is about: those
// that quote a packet in part, and fragments.
var uncheckable = []string{"nat-icmp-error/a 3", "nat-icmp-error/a 4", "nat-ipv6/a 4", "nat-fragments/a 1", "nat-fragments/a 2", "nat-fragments/world 1", "nat-fragments/world 2"}

// TestOutsideTshark shows what was translated to a decoder of others, all in one capture:
// checksums are good, and on each side there are none but its own addresses, quoted packets
// included. Of these it checks the IP checksum alone.
func TestOutsideTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		nettest.Skip(t, "tshark is not installed")
	}
	var all []at
	var names []string
	for _, c := range outsideCases() {
		for _, port := range []string{"a", "b", "world"} {
			for i, data := range readAll(t, outPath(filepath.Join(goldenDir, c.name, "out"), port)) {
				all, names = append(all, at{0, data}), append(names, fmt.Sprintf("%s/%s %d", c.name, port, i+1))
			}
		}
	}
	seen := tsharkFields(t, tshark, write(t, t.TempDir(), "all.pcap", pcapOf(t, all)))
	if len(seen) != len(all) || len(all) < 50 {
		t.Fatalf("%d lines for %d frames", len(seen), len(all))
	}
	for i, f := range seen {
		checkOutside(t, names[i], f)
	}
}

// checkOutside looks at what tshark says of one frame.
func checkOutside(t *testing.T, name string, f map[string][]string) {
	quotes := len(f["ip.src"])+len(f["ipv6.src"]) > 1
	for _, field := range []string{"ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status"} {
		for _, status := range f[field] { // 1 is good, 2 not looked at
			quoted := quotes && (field == "udp.checksum.status" || field == "tcp.checksum.status")
			if status != "1" && (status != "2" || !quoted && !slices.Contains(uncheckable, name)) {
				t.Errorf("%s: %s is %s", name, field, status)
			}
		}
	}
	if len(f["_ws.malformed"]) > 0 {
		t.Errorf("%s is malformed", name)
	}
	inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, s := range slices.Concat(f["ip.src"], f["ip.dst"], f["ipv6.src"], f["ipv6.dst"]) {
		a := netip.MustParseAddr(s)
		isInside := slices.ContainsFunc(inside, func(p netip.Prefix) bool { return p.Contains(a) })
		if isInside && strings.Contains(name, "/world ") {
			t.Errorf("%s: %s is inside, and outside there", name, a)
		}
	}
}

// tsharkFields returns fields of each frame of a capture, those of quoted packets after
// those of the packet itself.
func tsharkFields(t *testing.T, tshark, path string) (all []map[string][]string) {
	names := []string{"frame.number", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.flags.mf", "_ws.malformed",
		"ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status"}
	args := []string{"-r", path, "-n", "-T", "fields", "--disable-protocol", "dns", "--disable-protocol", "mdns", "--disable-protocol", "icq", "-E", "separator=|"}
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
