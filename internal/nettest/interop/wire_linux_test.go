package interop

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// record captures what passes an interface of the namespace "far" until the
// returned function is called, which returns the file.
func record(t *testing.T, name string) (file string, done func()) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "wire.pcap")
	b := start(t, in("far", "dumpcap", "-P", "-q", "-B", "32", "-i", name, "-f", "udp", "-w", file)...)
	eventually(t, 10*time.Second, "dumpcap listens", func() bool { return strings.Contains(b.out.String(), "File: ") })
	return file, func() {
		t.Helper()
		time.Sleep(200 * time.Millisecond) // for what it has not read yet
		_ = b.process.Process.Signal(syscall.SIGINT)
		t.Logf("dumpcap: %s", b.stop(t))
	}
}

// tshark runs it on a capture with every checksum looked at.
func tshark(t *testing.T, file string, args ...string) string {
	t.Helper()
	all := []string{"-n", "-r", file, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.defragment:TRUE"}
	var errs strings.Builder
	c := exec.Command("tshark", append(all, args...)...)
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &errs)
	}
	return string(out)
}

// TestWire has tshark decode what weft sends, as it is on the wire.
func TestWire(t *testing.T) {
	needs(t, "tshark", "dumpcap")
	isolated(t, func(t *testing.T) {
		for _, c := range []struct{ name, near, there, options, address string }{
			{"IPv4", near4, there4, "local 10.9.0.2 remote 10.9.0.1", "ip.src"},
			{"IPv6", near6, there6, "local fd09::2 remote fd09::1", "ipv6.src"},
		} {
			t.Run(c.name, func(t *testing.T) {
				cable(t)
				wireOnly(t, "", "u0")
				wireOnly(t, "far", "u1")
				n := openNode(t, c.near)
				n.overlay(t, c.there)
				n.serve(t)
				kernelDevice(t, c.options)
				start(t, in("far", weft(), "tool", "serve")...)
				file, done := record(t, "u1")
				exchangeOnWire(t, n)
				done()
				if bad := tshark(t, file, "-Y", "_ws.malformed || udp.checksum.status == 0 || tcp.checksum.status == 0 || ip.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"); bad != "" {
					t.Errorf("tshark finds fault with\n%.2000s", bad)
				}
				datagrams(t, file, c.near, c.address)
			})
		}
	})
}

// exchangeOnWire makes some traffic of every kind.
func exchangeOnWire(t *testing.T, n *testNode) {
	t.Helper()
	box := n.endpoint(t)
	for _, a := range []string{far4, far6} {
		n.mustBox(t, "ping", "-c", "1", "-W", "2", a)
		n.mustBox(t, "ping", "-c", "1", "-W", "2", "-s", "1380", "-M", "do", a)
		n.mustBox(t, "ping", "-c", "1", "-W", "2", "-s", "4000", a) // in fragments
	}
	n.mustBox(t, weft(), "tool", "send", "-m", "1", "-P", "8", far4)
	n.mustBox(t, weft(), "tool", "send", "-m", "1", "["+far6+"]:5201")
	must(t, in("far", weft(), "tool", "send", "-m", "1", box.IPv4.Addr().String())...)
	n.mustBox(t, weft(), "tool", "blast", "-t", "1ms", far4)
	n.mustBox(t, weft(), "tool", "blast", "-t", "1ms", "["+far6+"]:5201")
}

// datagrams checks the outer headers of everything that came from the node.
func datagrams(t *testing.T, file, near, address string) {
	t.Helper()
	out := tshark(t, file, "-Y", address+" == "+near, "-T", "fields", "-E", "occurrence=f", "-E", "separator=,",
		"-e", address, "-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.checksum.status", "-e", "vxlan.vni", "-e", "ip.flags.df", "-e", "frame.len")
	count, ports := 0, map[string]bool{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) != 7 || f[0] != near {
			continue // the address stands in an inner packet only
		}
		count++
		ports[f[1]] = true
		port, _ := strconv.Atoi(f[1])
		length, _ := strconv.Atoi(f[6])
		df := f[5] == "1" || f[5] == "True" || address == "ipv6.src"
		if port < 49152 || f[2] != "4789" || f[3] != "1" || f[4] != strconv.Itoa(vni) || !df || length > 1514 {
			t.Fatalf("source port, port, checksum status, VNI, DF, length: %v", f[1:])
		}
	}
	if count < 1000 || len(ports) < 2 {
		t.Errorf("%d datagrams from the ports %v: expected many, from several", count, ports)
	}
}
