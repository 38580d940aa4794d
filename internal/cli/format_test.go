package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"weft/internal/api"
)

func twoSandboxes() []record {
	return []record{
		sandboxRecord(container.Summary{
			ID: strings.Repeat("0123456789abcdef", 4), Names: []string{"/rose"}, Image: "scratch",
			Command: "sleep 300 and then some more", Created: time.Now().Add(-3 * time.Minute).Unix(), State: "running", Status: "Up 3 minutes",
			Labels: map[string]string{"b": "2", "a": "1", api.LabelNetworks: "net10,net2"},
			NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
				"net10": {}, "net2": {},
			}},
		}, false),
		sandboxRecord(container.Summary{
			ID: strings.Repeat("f", 64), Names: []string{"/iris"}, Image: "scratch", Command: "true",
			Created: time.Now().Add(-2 * time.Hour).Unix(), State: "exited", Status: "Exited (0) 2 hours ago",
		}, false),
	}
}

// The tables are what docker ps prints for the same rows.
func TestListingFormats(t *testing.T) {
	tests := []struct {
		name, format string
		quiet        bool
		want         string
	}{
		{"default", "", false, "" +
			"CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS                   PORTS     NAMES\n" +
			"0123456789ab   scratch   \"sleep 300 and then …\"   3 minutes ago   Up 3 minutes                       rose\n" +
			"ffffffffffff   scratch   \"true\"                   2 hours ago     Exited (0) 2 hours ago             iris\n"},
		{"quiet", "", true, "0123456789ab\nffffffffffff\n"},
		{"quiet table", "table", true, "0123456789ab\nffffffffffff\n"},
		{"template", "{{.Names}}={{.State}}", false, "rose=running\niris=exited\n"},
		{"escapes", `{{.Names}}\t{{.State}}`, false, "rose\trunning\niris\texited\n"},
		{"table template", `table {{.Names}}\t{{.Networks}}`, false, "NAMES     NETWORKS\nrose      net2,net10\niris      \n"},
		{"label", `table {{.Names}}\t{{.Label "com.a-b"}}`, false, "NAMES     a b\nrose      \niris      \n"},
		{"label value", `{{.Label "a"}}{{.Labels}}`, false, "1a=1,b=2\n\n"},
		{"functions", `{{upper .Names}} {{json .State}} {{truncate .ID 4}}`, false, "ROSE \"running\" 0123\nIRIS \"exited\" ffff\n"},
		{"header functions", `table {{upper .Names}}\t{{json .State}}`, false, "NAMES     STATE\nROSE      \"running\"\nIRIS      \"exited\"\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := sandboxListing().print(&b, tt.format, tt.quiet, twoSandboxes()); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
}

func TestListingJSON(t *testing.T) {
	var b bytes.Buffer
	rows := []record{networkRecord(network.Summary{Network: network.Network{
		ID: strings.Repeat("ab", 32), Name: "front", Driver: "bridge", Scope: "local", EnableIPv4: true,
		Labels: map[string]string{"k": "v"}, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}}, false)}
	if err := networkListing().print(&b, "json", false, rows); err != nil {
		t.Fatal(err)
	}
	want := `{"CreatedAt":"2026-01-02 03:04:05 +0000 UTC","Driver":"bridge","Encrypted":"false","ID":"abababababab","IPv4":"true","IPv6":"false",` +
		`"Internal":"false","Labels":"k=v","Name":"front","Scope":"local"}` + "\n"
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}

func TestListingErrors(t *testing.T) {
	for _, format := range []string{"{{.Nope}}", "{{.Names", "table {{.Nope}}", "{{nope .Names}}"} {
		err := sandboxListing().print(&bytes.Buffer{}, format, false, twoSandboxes())
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--format") {
			t.Errorf("%s: error %v, expected a usage error about --format", format, err)
		}
	}
}

// Every listing's default columns exist, with a heading, in its rows.
func TestListingColumns(t *testing.T) {
	for name, l := range map[string]listing{
		"ps": sandboxListing(), "network ls": networkListing(), "fdb": fdbListing(), "arp": arpListing(),
		"stats": statsListing(), "top": rateListing(), "trace": traceListing(), "doctor": checkListing(),
	} {
		var b bytes.Buffer
		if err := l.print(&b, "table", false, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(b.String(), "no value") || len(strings.Fields(b.String())) == 0 {
			t.Errorf("%s: header %q", name, b.String())
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		less bool
	}{
		{"net2", "net10", true}, {"net10", "net2", false}, {"a", "b", true}, {"net2", "net2", false},
		{"net", "net1", true}, {"n01x", "n1y", true}, {"10.0.0.9:eth0", "10.0.0.10:eth0", true}, {"", "a", true},
	} {
		if naturalLess(tt.a, tt.b) != tt.less {
			t.Errorf("naturalLess(%q, %q) is not %v", tt.a, tt.b, tt.less)
		}
	}
}

func TestInspectFormats(t *testing.T) {
	typed := network.Inspect{Network: network.Network{Name: "front", ID: "abc"}}
	objects := []inspected{{typed: typed, raw: []byte(`{"Name":"front","Id":"abc","Options":{}}`)}}
	for _, tt := range []struct{ name, format, want string }{
		{"array", "", "[\n    {\n        \"Name\": \"front\",\n        \"Id\": \"abc\",\n        \"Options\": {}\n    }\n]\n"},
		{"field", "{{.Name}}", "front\n"},
		{"key of the JSON", "{{.Id}}", "abc\n"},
	} {
		var b bytes.Buffer
		if err := printInspected(&b, tt.format, objects); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if b.String() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, b.String(), tt.want)
		}
	}
	if err := printInspected(&bytes.Buffer{}, "{{.Nope}}", objects); err == nil {
		t.Error("an unknown field is no error")
	}
	var b bytes.Buffer
	if err := printInspected(&b, "", nil); err != nil || b.String() != "[]\n" {
		t.Errorf("nothing found: %q, %v; Docker prints []", b.String(), err)
	}
}
