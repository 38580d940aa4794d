//go:build linux

package cli

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
)

// Names are listed, asked for and written down, and sandboxes find each other by them.
func tryNames(t *testing.T, e *trial) {
	e.must(t, "network", "create", "--subnet", "10.66.80.0/24", "names")
	e.must(t, "run", "-d", "--name", "na", "--network", "name=names,alias=www", "--", "sleep", "300")
	e.must(t, "run", "-d", "--name", "nb", "--network", "names", "--", "sleep", "300")
	at := e.address(t, "na", "names")
	e.pings(t, "nb", "www")
	e.pings(t, "nb", "na.names")
	if got := e.must(t, "dns", "ls", "--network", "names", "--filter", "name=www", "--format", "{{.Type}} {{.TTL}} {{.Value}} {{.Origin}} {{.Owner}} {{.Answered}}"); got != "A 5 "+at+" endpoint na yes" {
		t.Errorf("dns ls: %q", got)
	}
	if got := e.must(t, "dns", "query", "--from", "nb", "WWW"); got != "WWW. 5 IN A "+at {
		t.Errorf("dns query: %q", got)
	}
	e.fails(t, 1, "no records", "dns", "query", "nobody.at.all")
	e.fails(t, 1, "No such container", "dns", "query", "--from", "nobody", "na")
	e.fails(t, 2, "at least 3 arguments", "dns", "add", "db", "A")
	e.fails(t, 2, "expected seconds", "dns", "add", "--ttl", "5m", "db", "A", "192.0.2.7")
	e.fails(t, 1, "one of A, AAAA, CNAME, TXT, SRV, PTR was expected", "dns", "add", "db", "MX", "x")
	e.must(t, "dns", "add", "--network", "names", "--ttl", "60", "db", "A", "192.0.2.7", "192.0.2.8")
	e.must(t, "dns", "add", "*.apps.example", "CNAME", "na")
	if got := e.must(t, "dns", "query", "--from", "nb", "x.apps.example"); !strings.Contains(got, "CNAME na.") || !strings.Contains(got, "na. 5 IN A "+at) {
		t.Errorf("a wildcard: %q", got)
	}
	if got := strings.Fields(e.must(t, "dns", "ls", "-q", "--filter", "origin=static")); len(got) != 3 {
		t.Errorf("static records: %q", got)
	}
	for line := range strings.Lines(e.must(t, "dns", "ls", "--filter", "name=db", "--format", "json")) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil || net.ParseIP(r["Value"].(string)) == nil || r["TTL"].(float64) != 60 {
			t.Errorf("%v: %s", err, line)
		}
	}
	if r := e.try(t, "dns", "add", "--network", "names", "na", "A", "192.0.2.1"); r.code != 0 || !strings.Contains(r.err, "WARNING: na on network") {
		t.Errorf("a name that is taken: exit code %d, %q", r.code, r.err)
	}
	e.must(t, "dns", "rm", "--network", "names", "na")
	if got := e.must(t, "dns", "stats", "--filter", "counter=queries-udp", "--format", "{{.Count}}"); got == "" || got == "0" {
		t.Errorf("dns stats: %q", got)
	}
	e.fails(t, 1, "no such static record db", "dns", "rm", "db")
	e.must(t, "dns", "rm", "--network", "names", "db", "a")
	e.must(t, "dns", "rm", "*.apps.example")
	e.must(t, "network", "connect", "--link", "na:peer", "names", e.must(t, "run", "-d", "--name", "nc", "--", "sleep", "300"))
	e.pings(t, "nc", "peer")
	e.must(t, "rm", "-f", "na", "nb", "nc")
	e.must(t, "network", "rm", "names")
	if got := e.must(t, "dns", "ls", "-q"); got != "" {
		t.Errorf("left: %q", got)
	}
}
