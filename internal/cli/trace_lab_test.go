package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTraceLabOutside: frames to and from the outside of a lab are described like others.
func TestTraceLabOutside(t *testing.T) {
	lab := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(lab, []byte(`networks:
  front: {subnet: 10.0.0.0/24}
nodes:
  n1: {uplink-addr: 192.0.2.1/24, uplink-gateway: 192.0.2.254}
ports:
  a: {network: front, ip: 10.0.0.2, publish: ["8080:80"]}
  world: {outside: true, ip: 192.0.2.254}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, port, what, want string }{
		{"out", "", "src=a,dst=198.51.100.9,proto=udp,dport=53", "\ntranslate   10.0.0.2:40000>198.51.100.9:53 becomes 192.0.2.1:40000>198.51.100.9:53 by a new flow\n" +
			"route       next hop 192.0.2.254, through world\nwrite       world: written as it is\nverdict     forwarded\n"},
		{"in", "world", "src=198.51.100.9,dst=192.0.2.1,proto=tcp,dport=8080", "from world: 02:42:c0:00:02:fe > 02:42:c0:00:02:01, 198.51.100.9 > 192.0.2.1 TCP"},
		{"in, on its way", "world", "src=198.51.100.9,dst=192.0.2.1,proto=tcp,dport=8080", "\nroute       10.0.0.2 is on front, at 02:42:0a:00:00:02\nwrite       a: written as it is\nverdict     forwarded\n"},
		{"in, from the link", "", "src=192.0.2.254,dst=192.0.2.1,proto=tcp,dport=81", "\nroute       dropped: no-flow; world is told\n"},
	} {
		args := []string{"trace", "--lab", lab, c.what}
		if c.port != "" {
			args = append(args, "--port", c.port)
		}
		if code, out, stderr := weft(t, args...); code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, %s\n%s\nexpected\n%s", c.name, code, stderr, out, c.want)
		}
	}
}
