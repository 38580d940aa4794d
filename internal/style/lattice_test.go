package style

import (
	"fmt"
	"strings"
	"testing"
)

// lattice is the order of the house: a package imports only packages on lines
// above its own, never a sibling on the same line. Test files are exempt.
const lattice = `
	internal/frame
	internal/offload
	arp nat ipsec
	tap vxlan internal/uplink internal/capture
	vswitch
	internal/cnm internal/ipam internal/discovery
	internal/lab
	internal/cluster/pki internal/cluster/store internal/cluster/gossip internal/keyring
	internal/cluster
	internal/sandbox
	internal/node
	internal/api
	internal/dockerplugin internal/cni internal/web
	internal/nettool
	internal/demo
	internal/cli
	cmd/weft
`

// testOnly are packages that only test files import.
var testOnly = map[string]bool{"internal/nettest": true, "internal/nettest/fabric": true}

// outside are packages that stand beside the house: the tests' own.
var outside = map[string]bool{"internal/nettest": true, "internal/nettest/fabric": true, "internal/nettest/bench": true, "internal/nettest/interop": true, "internal/nettest/summary": true, "internal/style": true}

// floors returns the line of each package, counted from 1.
func floors(text string) map[string]int {
	m := map[string]int{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		for _, p := range strings.Fields(line) {
			m[p] = i + 1
		}
	}
	return m
}

// direction checks every import of the module's own packages.
func direction(f *file) (bad []string) {
	if f.test {
		return nil
	}
	at := floors(lattice)
	here := at[f.dir]
	if here == 0 && !outside[f.dir] {
		return []string{fmt.Sprintf("package %s has no place in the import lattice", f.dir)}
	}
	for _, imp := range f.imports() {
		p, own := strings.CutPrefix(imp, module+"/")
		switch {
		case !own:
		case testOnly[p]:
			bad = append(bad, "imports "+p+", which is for test files only")
		case outside[f.dir]:
			if p != "internal/frame" {
				bad = append(bad, "imports "+p+": a package beside the house may know frame alone")
			}
		case at[p] == 0:
			bad = append(bad, "imports "+p+", which has no place in the import lattice")
		case at[p] >= here:
			bad = append(bad, fmt.Sprintf("imports %s against the lattice (line %d into line %d)", p, here, at[p]))
		}
	}
	return bad
}

func TestDirection(t *testing.T) {
	for _, c := range []struct{ name, dir, imp, want string }{
		{"down", "vswitch", "weft/arp", ""},
		{"foreign", "arp", "net/netip", ""},
		{"up", "arp", "weft/vswitch", "against the lattice"},
		{"sibling", "arp", "weft/nat", "against the lattice"},
		{"itself", "arp", "weft/arp", "against the lattice"},
		{"unknown importer", "internal/attic", "net", "has no place"},
		{"unknown import", "vswitch", "weft/internal/attic", "has no place"},
		{"tests' own", "vswitch", "weft/internal/nettest", "for test files only"},
		{"nettest", "internal/nettest", "weft/vswitch", "may know frame alone"},
		{"nettest and frame", "internal/nettest", "weft/internal/frame", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, direction(parse(t, c.dir+"/x.go", fmt.Sprintf("package x\nimport %q", c.imp))), c.want)
			expect(t, direction(parse(t, c.dir+"/x_test.go", fmt.Sprintf("package x\nimport %q", c.imp))), "")
		})
	}
}
