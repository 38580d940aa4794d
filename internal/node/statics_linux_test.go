package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/discovery"
)

// Static records are answered on their network, or on all, outlive the daemon, and go
// with their network.
func TestStaticNames(t *testing.T) {
	watchLeaks(t)
	c := alone(t)
	n := openBeside(t, c)
	front := mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.66.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.67.67.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: on("back")})
	for _, s := range []discovery.Static{
		{Network: "front", Name: "db", Type: "A", Values: []string{"192.0.2.7", "192.0.2.8"}, TTL: 30 * time.Second},
		{Name: "*.apps.example", Type: "a", Values: []string{"192.0.2.9"}},
		{Name: "192.0.2.9", Type: "PTR", Values: []string{"nine.example"}},
		{Name: "alias", Type: "CNAME", Values: []string{"rose"}},
	} {
		if w, err := n.DNSAdd(t.Context(), s); err != nil || len(w) > 0 {
			t.Fatalf("%+v: %q, %v", s, w, err)
		}
	}
	all := func() {
		t.Helper()
		finds(t, n, "rose", "db", "A", "192.0.2.7 192.0.2.8")
		finds(t, n, "rose", "x.apps.example", "A", "192.0.2.9")
		finds(t, n, "rose", "192.0.2.9", "PTR", "nine.example.")
		finds(t, n, "rose", "alias", "A", addr4(rose, "front").String())
		finds(t, n, "lily", "db", "A", "")
		finds(t, n, "lily", "x.apps.example", "A", "192.0.2.9")
	}
	all()
	n = again(t, n, c)
	all()
	if w, err := n.DNSAdd(t.Context(), discovery.Static{Network: "front", Name: "rose", Type: "A", Values: []string{"192.0.2.1"}}); err != nil || len(w) != 1 || !strings.Contains(w[0], "rose") {
		t.Errorf("a name that somebody has: %q, %v", w, err)
	}
	for _, bad := range []struct {
		s    discovery.Static
		kind cnm.Kind
	}{
		{discovery.Static{Network: "nowhere", Name: "a", Type: "A", Values: []string{"192.0.2.1"}}, cnm.NotFound},
		{discovery.Static{Network: "bridge", Name: "a", Type: "A", Values: []string{"192.0.2.1"}}, cnm.Invalid},
		{discovery.Static{Name: "a", Type: "MX", Values: []string{"b"}}, cnm.Invalid},
		{discovery.Static{Name: "a", Type: "A", Values: []string{"::1"}}, cnm.Invalid},
	} {
		if _, err := n.DNSAdd(t.Context(), bad.s); !errors.Is(err, bad.kind) {
			t.Errorf("%+v: %v", bad.s, err)
		}
	}
	origins := func(ref string) (out []string) {
		records, err := n.DNSRecords(ref)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Origin == discovery.FromStatic {
				out = append(out, strings.TrimSpace(r.Network+" "+r.Name+" "+r.Type+" "+r.Value))
			}
		}
		return out
	}
	if got := origins("front"); !slices.Contains(got, "front db A 192.0.2.8") || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "apps") }) {
		t.Errorf("of front: %q", got)
	}
	for _, c := range []struct{ from, name, kind, want string }{
		{"rose", "db", "A", "db. 30 IN A 192.0.2."},
		{"", "db.front", "A", "db.front. 30 IN A 192.0.2."},
		{"", "lily", "", "lily. 5 IN A 10.67.67."},
		{"lily", "db", "A", ""},
	} {
		r, err := n.DNSQuery(t.Context(), c.from, c.name, c.kind)
		if err != nil || (c.want == "") != (len(r.Records) == 0) || c.want != "" && (!r.Local || !strings.HasPrefix(r.Records[0], c.want)) {
			t.Errorf("%q asks for %s %s: %+v, %v", c.from, c.name, c.kind, r, err)
		}
	}
	if _, err := n.DNSQuery(t.Context(), "nobody", "db", ""); !errors.Is(err, cnm.NotFound) {
		t.Errorf("nobody asks: %v", err)
	}
	if counts, conflicts := n.DNSStats(); counts["queries-udp"] == 0 || len(conflicts) != 1 {
		t.Errorf("%v, %q", counts, conflicts)
	}
	if err := n.DNSRemove(t.Context(), "", "X.apps.example", ""); !errors.Is(err, cnm.NotFound) {
		t.Errorf("a record that is not there: %v", err)
	}
	if err := n.DNSRemove(t.Context(), "", "*.Apps.example.", "A"); err != nil {
		t.Error(err)
	}
	finds(t, n, "rose", "x.apps.example", "A", "")
	if err := n.SandboxRemove(t.Context(), "rose", true); err != nil {
		t.Fatal(err)
	}
	if err := n.NetworkRemove(t.Context(), front); err != nil {
		t.Fatal(err)
	}
	n = again(t, n, c)
	if got := origins(""); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "db") }) || len(got) != 2 {
		t.Errorf("left: %q", got)
	}
}
