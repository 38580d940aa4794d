package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
	"weft/internal/node"
)

// at makes the backend's clock stand still.
func at(m *memory) *memory {
	m.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC) }
	return m
}

// withSandbox creates and starts a sandbox that sleeps.
func withSandbox(t *testing.T, m *memory, s cnm.SandboxSpec) string {
	t.Helper()
	if len(s.Cmd) == 0 {
		s.Cmd = []string{"sleep", "1000"}
	}
	id, _, err := m.SandboxCreate(context.Background(), s)
	if err == nil {
		err = m.SandboxStart(context.Background(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.endAll)
	return id
}

const createFront = `{"Name":"front","CheckDuplicate":true,"Driver":"bridge","EnableIPv4":null,"EnableIPv6":true,"Internal":true,
	"Attachable":true,"Ingress":false,"Options":{"com.docker.network.driver.mtu":"1400"},"Labels":{"env":"prod"},
	"IPAM":{"Driver":"default","Options":null,"Config":[
		{"Subnet":"10.1.0.0/24","IPRange":"10.1.0.128/25","Gateway":"10.1.0.254","AuxiliaryAddresses":{"printer":"10.1.0.5"}}]}}`

func TestNetworkInspectGolden(t *testing.T) {
	m := at(newMemory())
	s := NewServer(m, nil)
	if w := ask(s, "POST", "/v1.41/networks/create", createFront); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	withSandbox(t, m, cnm.SandboxSpec{Name: "a", Networks: []cnm.NetworkJoin{{Network: "front"}}})
	w := ask(s, "GET", "/networks/front?verbose=true&scope=local", "")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	golden(t, "network-inspect", w.Body.Bytes())
	golden(t, "network-list", ask(s, "GET", "/networks", "").Body.Bytes())
}

func TestNetworkModel(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name string
		req  network.CreateRequest
		want func(cnm.Network) bool
	}{
		{"IPv4 by default", network.CreateRequest{}, func(n cnm.Network) bool { return n.EnableIPv4 && !n.EnableIPv6 }},
		{"IPv6 only", network.CreateRequest{EnableIPv4: &no, EnableIPv6: &yes}, func(n cnm.Network) bool { return !n.EnableIPv4 && n.EnableIPv6 }},
		{"null driver", network.CreateRequest{Driver: "null"}, func(n cnm.Network) bool { return n.Driver == "none" }},
		{"config from", network.CreateRequest{ConfigFrom: &network.ConfigReference{Network: "c"}}, func(n cnm.Network) bool { return n.ConfigFrom == "c" }},
		{"all flags", network.CreateRequest{Internal: true, Attachable: true, Ingress: true, ConfigOnly: true, Scope: "local"},
			func(n cnm.Network) bool {
				return n.Internal && n.Attachable && n.Ingress && n.ConfigOnly && n.Scope == "local"
			}},
	} {
		if n := networkModel(c.req); !c.want(n) {
			t.Errorf("%s: %+v", c.name, n)
		}
	}
}

func TestNetworkListFilters(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	for _, b := range []string{createFront, `{"Name":"back","Labels":{"env":"dev"}}`, `{"Name":"backup"}`} {
		if w := ask(s, "POST", "/networks/create", b); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	withSandbox(t, m, cnm.SandboxSpec{Name: "a", Networks: []cnm.NetworkJoin{{Network: "front"}}})
	back, _ := m.Network("back")
	for _, c := range []struct {
		filters string
		want    []string // nil: refused
	}{
		{`{}`, []string{"bridge", "host", "none", "front", "back", "backup"}},
		{`{"name":{"back":true}}`, []string{"back", "backup"}},
		{`{"name":{"^back$":true}}`, []string{"back"}},
		{`{"id":{"` + back.ID[:12] + `":true}}`, []string{"back"}},
		{`{"driver":{"null":true}}`, []string{"none"}},
		{`{"driver":{"bridge":true},"type":{"builtin":true}}`, []string{"bridge"}},
		{`{"type":{"custom":true}}`, []string{"front", "back", "backup"}},
		{`{"label":{"env":true}}`, []string{"front", "back"}},
		{`{"label":{"env=dev":true}}`, []string{"back"}},
		{`{"scope":{"swarm":true}}`, []string{}},
		{`{"scope":["local"],"name":["host"]}`, []string{"host"}},
		{`{"dangling":{"true":true}}`, []string{"back", "backup"}},
		{`{"dangling":{"0":true}}`, []string{"bridge", "host", "none", "front"}},
		{`{"dangling":{"maybe":true}}`, nil},
		{`{"type":{"odd":true}}`, nil},
		{`{"colour":{"red":true}}`, nil},
	} {
		w := ask(s, "GET", "/networks?filters="+url.QueryEscape(c.filters), "")
		if c.want == nil {
			if w.Code != 400 || !strings.HasPrefix(message(t, w), "invalid filter") {
				t.Errorf("%s: %d %s", c.filters, w.Code, w.Body)
			}
			continue
		}
		got := []string{}
		for _, n := range decodeAnswer[[]network.Summary](t, w) {
			got = append(got, n.Name)
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(c.want))) {
			t.Errorf("%s: %v, want %v", c.filters, got, c.want)
		}
	}
}

func TestNetworkConnect(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	ask(s, "POST", "/networks/create", createFront)
	withSandbox(t, m, cnm.SandboxSpec{Name: "a"})
	for _, c := range []struct {
		name, path, body string
		code             int
		part             string
	}{
		{"wanted address", "/networks/front/connect", `{"Container":"a","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.1.0.130","LinkLocalIPs":["169.254.1.1"]},
			"MacAddress":"02:00:00:00:00:01","Aliases":["www"],"Links":["b:c"],"DriverOpts":{"k":"v"},"GwPriority":5}}`, 200, ""},
		{"twice", "/networks/front/connect", `{"Container":"a"}`, 403, "already exists"},
		{"bad address", "/networks/bridge/connect", `{"Container":"a","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.1"}}}`, 400, "invalid JSON"},
		{"long MAC", "/networks/bridge/connect", `{"Container":"a","EndpointConfig":{"MacAddress":"02:00:00:00:00:01:02:03"}}`, 400, "expected 48 bits"},
		{"no such network", "/networks/nowhere/connect", `{"Container":"a"}`, 404, "network nowhere not found"},
		{"no such container", "/networks/front/connect", `{"Container":"nobody"}`, 404, "No such container: nobody"},
		{"in use", "/networks/front", "", 409, "active endpoints"},
		{"disconnect", "/networks/front/disconnect", `{"Container":"a","Force":true}`, 200, ""},
		{"disconnect again", "/networks/front/disconnect", `{"Container":"a"}`, 403, "is not connected"},
	} {
		method := "POST"
		if c.name == "in use" {
			method = "DELETE"
		}
		w := ask(s, method, c.path, c.body)
		if w.Code != c.code || c.part != "" && !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s: %d %s, want %d %q", c.name, w.Code, w.Body, c.code, c.part)
		}
		if c.name != "wanted address" {
			continue
		}
		b, _ := m.Sandbox("a")
		got := fmt.Sprintf("%+v", b.Endpoints[0].Config)
		if want := "{IPv4:10.1.0.130 IPv6:invalid IP LinkLocal:[169.254.1.1] MAC:02:00:00:00:00:01 Aliases:[www] Links:[b:c] DriverOpts:map[k:v] GwPriority:5}"; got != want {
			t.Errorf("endpoint wanted %s\nwant            %s", got, want)
		}
	}
}

func TestNetworkRemoveAndPrune(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	for _, b := range []string{createFront, `{"Name":"b","Labels":{"keep":"1"}}`, `{"Name":"c"}`, `{"Name":"d"}`} {
		ask(s, "POST", "/networks/create", b)
	}
	if w := ask(s, "DELETE", "/networks/d", ""); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("remove: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "DELETE", "/networks/bridge", ""); w.Code != 403 || !strings.Contains(message(t, w), "pre-defined") {
		t.Errorf("remove bridge: %d %s", w.Code, w.Body)
	}
	for _, c := range []struct{ filters, want string }{
		{`{"until":{"1h":true}}`, `{"NetworksDeleted":null}`},
		{`{"label":{"env=prod":true}}`, `{"NetworksDeleted":["front"]}`},
		{`{"label!":{"keep":true}}`, `{"NetworksDeleted":["c"]}`},
		{``, `{"NetworksDeleted":["b"]}`},
	} {
		w := ask(s, "POST", "/networks/prune?filters="+url.QueryEscape(c.filters), "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != c.want {
			t.Errorf("prune %s: %d %s, want %s", c.filters, w.Code, got, c.want)
		}
	}
}

func TestNetworkScope(t *testing.T) {
	s := NewServer(newMemory(), nil)
	if w := ask(s, "GET", "/networks/bridge?scope=swarm", ""); w.Code != 404 || message(t, w) != "network bridge not found" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Before API 1.52 a network had no Status.
func TestNetworkStatusVersion(t *testing.T) {
	v, _ := newMemory().Network("bridge")
	v.Subnets = append(v.Subnets, node.SubnetStatus{Subnet: netip.MustParsePrefix("172.17.0.0/16"), InUse: 3, Available: 65533})
	for _, c := range []struct {
		v    version
		want bool
	}{{51, false}, {52, true}} {
		b, _ := json.Marshal(networkView(c.v, v))
		if got := strings.Contains(string(b), `"Status":{"IPAM":{"Subnets":{"172.17.0.0/16":{"IPsInUse":3,"DynamicIPsAvailable":65533}}}}`); got != c.want {
			t.Errorf("version %v: %s", c.v, b)
		}
	}
}
