package api

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

// created makes a sandbox a of the fields of a create request and returns its spec.
func created(t *testing.T, s *Server, m *memory, version, fields string) (cnm.SandboxSpec, []string) {
	t.Helper()
	res := decodeAnswer[container.CreateResponse](t, ask(s, "POST", version+"/containers/create?name=a", `{"Cmd":["sleep"],`+fields+`}`))
	b, err := m.Sandbox(res.ID)
	if err != nil {
		t.Fatal(err)
	}
	return b.Spec, res.Warnings
}

func TestPortsCreated(t *testing.T) {
	const both = `"ExposedPorts":{"90/tcp":{},"80/tcp":{},"53/udp":{}},"HostConfig":{"PublishAllPorts":true,`
	for _, c := range []struct {
		name, version, fields string
		expose, ports         string
		all                   bool
		warning               string
	}{
		{"nothing", "", `"HostConfig":{}`, "", "", false, ""},
		{"exposed", "", both + `"Dns":[]}`, "53/udp 80/tcp 90/tcp", "", true, ""},
		{"published", "", `"HostConfig":{"PortBindings":{"90":[{"HostPort":"9000-9009"}],"80/TCP":[{"HostIp":"::1","HostPort":"8081"},{"HostIp":"127.0.0.1","HostPort":"8080"}],
			"53/udp":[{"HostIp":"","HostPort":""}],"54/udp":[{"HostPort":"0"}]}}`, "", "53/udp 54/udp [::1]:8081:80/tcp 127.0.0.1:8080:80/tcp 9000-9009:90/tcp", false, ""},
		{"empty list before 1.52", "/v1.51", `"HostConfig":{"PortBindings":{"80/tcp":[],"81/tcp":null}}`, "", "80/tcp 81/tcp", false, ""},
		{"empty list in 1.52", "/v1.52", `"HostConfig":{"PortBindings":{"81/tcp":[],"80/tcp":[]}}`, "", "80/tcp 81/tcp", false,
			"Following container port(s) have an empty list of port-bindings: 80/tcp, 81/tcp. Starting with API 1.53, such bindings will be discarded."},
		{"empty list since", "/v1.53", `"HostConfig":{"PortBindings":{"80/tcp":[]}}`, "", "", false, ""},
		{"in network mode host", "", `"HostConfig":{"NetworkMode":"host","PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}`, "", "8080:80/tcp", false,
			"Published ports are discarded when using host network mode"},
		{"in network mode none", "", `"HostConfig":{"NetworkMode":"none","PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}`, "", "8080:80/tcp", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			spec, warnings := created(t, NewServer(m, nil), m, c.version, c.fields)
			var ports []string
			for _, p := range spec.Ports {
				ports = append(ports, p.String())
			}
			if got := strings.Join(ports, " "); got != c.ports {
				t.Errorf("ports %q, want %q", got, c.ports)
			}
			if got := strings.Join(spec.Expose, " "); got != c.expose || spec.PublishAll != c.all {
				t.Errorf("exposed %q %v, want %q %v", got, spec.PublishAll, c.expose, c.all)
			}
			if got := strings.Join(warnings, "\n"); got != c.warning {
				t.Errorf("warnings %q, want %q", got, c.warning)
			}
		})
	}
}

func TestPortsRefused(t *testing.T) {
	s := NewServer(newMemory(), nil)
	bind := func(port, binding string) string {
		return `{"Cmd":["x"],"HostConfig":{"PortBindings":{"` + port + `":[` + binding + `]}}}`
	}
	for _, c := range []struct {
		body string
		code int
		part string
	}{
		{bind("0/tcp", `{}`), 400, `invalid port specification: "0/tcp"`},
		{bind("", `{}`), 400, `invalid port specification: "invalid port"`},
		{bind("http", `{}`), 400, "invalid port 'http'"},
		{bind("80-81/tcp", `{}`), 400, "invalid port '80-81'"},
		{bind("65536/tcp", `{}`), 400, "invalid port '65536'"},
		{bind("80/icmp", `{}`), 400, "invalid proto: icmp"},
		{bind("80/"+strings.Repeat("x", 1000), `{}`), 400, "invalid proto: " + strings.Repeat("x", 64) + "..."},
		{bind("80/sctp", `{}`), 501, "sctp is not carried"},
		{bind("80/tcp", `{"HostPort":"http"}`), 400, `invalid port specification: "http"`},
		{bind("80/tcp", `{"HostPort":"65536"}`), 400, `invalid port specification: "65536"`},
		{bind("80/tcp", `{"HostPort":"9-8"}`), 400, `invalid port specification: "9-8"`},
		{bind("80/tcp", `{"HostPort":"0-8"}`), 400, `invalid port specification: "0-8"`},
		{bind("80/tcp", `{"HostPort":"8080/udp"}`), 400, `invalid port specification: "8080/udp"`},
		{bind("80/tcp", `{"HostIp":"localhost"}`), 400, "localhost"},
		{bind("80/tcp", `{"HostIp":"fe80::1%eth0"}`), 400, "invalid IP address: fe80::1%eth0"},
		{`{"Cmd":["x"],"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}],"81/tcp":[{"HostPort":"8080"}]}}}`, 400,
			"ports 80 and 81 cannot both be published on host port 8080/tcp"},
		{`{"Cmd":["x"],"ExposedPorts":{"80/icmp":{}}}`, 400, "invalid proto: icmp"},
		{`{"Cmd":["x"],"ExposedPorts":{"0/tcp":{}}}`, 400, `invalid port specification: "0/tcp"`},
		{`{"Cmd":["x"],"ExposedPorts":{"web":{}}}`, 400, "invalid port 'web'"},
		{`{"Cmd":["x"],"ExposedPorts":{"80/sctp":{}},"HostConfig":{"PublishAllPorts":true}}`, 501, "sctp is not carried"},
	} {
		w := ask(s, "POST", "/containers/create", c.body)
		if w.Code != c.code || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s: %d %s, want %d %q", clip(c.body), w.Code, w.Body, c.code, c.part)
		}
	}
}

// Before it runs and after it ran, a sandbox has no open ports; what was asked for stays.
func TestPortsInspected(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	t.Cleanup(m.endAll)
	created(t, s, m, "", `"ExposedPorts":{"90/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}],"53/udp":[{"HostPort":"5300-5309"}]}}`)
	const asked = `"PortBindings":{"53/udp":[{"HostIp":"","HostPort":"5300-5309"}],"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}`
	const open = `"Ports":{"53/udp":[{"HostIp":"0.0.0.0","HostPort":"5300"},{"HostIp":"::","HostPort":"5300"}],"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}],"90/tcp":null}`
	for _, c := range []struct{ do, want string }{
		{"", `"Ports":{}`}, {"start", open}, {"stop?t=0", `"Ports":{}`}, {"start", open},
	} {
		if c.do != "" {
			if w := ask(s, "POST", "/containers/a/"+c.do, ""); w.Code != 204 {
				t.Fatalf("%s: %d %s", c.do, w.Code, w.Body)
			}
		}
		for _, v := range []string{"", "/v1.41"} {
			body := ask(s, "GET", v+"/containers/a/json", "").Body.String()
			for _, part := range []string{asked, c.want, `"ExposedPorts":{"90/tcp":{}}`, `"PublishAllPorts":false`} {
				if !strings.Contains(body, part) {
					t.Errorf("after %q, %s: no %s in\n%s", c.do, v, part, body)
				}
			}
		}
	}
	list := decodeAnswer[[]container.Summary](t, ask(s, "GET", "/containers/json", ""))
	want := `[{"IP":"0.0.0.0","PrivatePort":53,"PublicPort":5300,"Type":"udp"},{"IP":"::","PrivatePort":53,"PublicPort":5300,"Type":"udp"},` +
		`{"IP":"127.0.0.1","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"","PrivatePort":90,"Type":"tcp"}]`
	if got := string(remarshal(list[0].Ports)); got != want {
		t.Errorf("listed %s\nwant   %s", got, want)
	}
}

// A port that was asked for and that nobody listens for, as while there is no way in, is
// shown like one that is exposed.
func TestPortsNotOpen(t *testing.T) {
	b := cnm.Sandbox{State: cnm.Running, Spec: cnm.SandboxSpec{Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80, HostPort: 8080}}}}
	if got := string(remarshal(openPorts(b))); got != `{"80/tcp":null}` {
		t.Errorf("open ports %s", got)
	}
}

// Without a network of its own a sandbox has no ports to publish.
func TestPortsOfHost(t *testing.T) {
	for _, mode := range []string{"host", "none"} {
		m := newMemory()
		s := NewServer(m, nil)
		t.Cleanup(m.endAll)
		created(t, s, m, "", `"ExposedPorts":{"90/tcp":{}},"HostConfig":{"NetworkMode":"`+mode+`","PublishAllPorts":true,"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}`)
		if w := ask(s, "POST", "/containers/a/start", ""); w.Code != 204 {
			t.Fatalf("start: %d %s", w.Code, w.Body)
		}
		for path, part := range map[string]string{"/containers/a/json": `"Ports":{}`, "/containers/json": `"Ports":[]`} {
			if got := ask(s, "GET", path, "").Body.String(); !strings.Contains(got, part) {
				t.Errorf("%s: %s has no %s: %s", mode, path, part, got)
			}
		}
	}
}

func TestPortFilters(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	t.Cleanup(m.endAll)
	for name, fields := range map[string]string{
		"web":  `"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}`,
		"dns":  `"ExposedPorts":{"9053/tcp":{}},"HostConfig":{"PortBindings":{"53/udp":[{"HostPort":"5353"}]}}`,
		"note": `"ExposedPorts":{"80/tcp":{}}`,
		"idle": `"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}`,
	} {
		if w := ask(s, "POST", "/containers/create?name="+name, `{"Cmd":["sleep"],`+fields+`}`); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if name != "idle" {
			ask(s, "POST", "/containers/"+name+"/start", "")
		}
	}
	for _, c := range []struct {
		filters string
		want    []string // nil: refused
	}{
		{`{"publish":{"8080":true}}`, []string{"web"}},
		{`{"publish":{"8080/udp":true}}`, []string{}},
		{`{"publish":{"5353/UDP":true}}`, []string{"dns"}},
		{`{"publish":{"80":true}}`, []string{}},
		{`{"publish":{"8000-9000":true,"5353/udp":true}}`, []string{"dns", "web"}},
		{`{"expose":{"80":true}}`, []string{"note", "web"}},
		{`{"expose":{"1-9053/tcp":true}}`, []string{"dns", "note", "web"}},
		{`{"expose":{"53/udp":true},"publish":{"8080":true}}`, []string{"dns", "web"}},
		{`{"expose":{"8080":true}}`, []string{}},
		{`{"publish":{"8080:80":true}}`, nil},
		{`{"publish":{"http":true}}`, nil},
		{`{"expose":{"2-1":true}}`, nil},
		{`{"expose":{"":true}}`, nil},
	} {
		w := ask(s, "GET", "/containers/json?all=1&filters="+url.QueryEscape(c.filters), "")
		if c.want == nil {
			if w.Code != 400 {
				t.Errorf("%s: %d %s, want 400", c.filters, w.Code, w.Body)
			}
			continue
		}
		got := []string{}
		for _, n := range decodeAnswer[[]container.Summary](t, w) {
			got = append(got, strings.TrimPrefix(n.Names[0], "/"))
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.filters, got, c.want)
		}
	}
	w := ask(s, "GET", "/containers/json?filters="+url.QueryEscape(`{"publish":{"1:2":true}}`), "")
	if got := message(t, w); got != "filter for 'publish' should not contain ':': 1:2" {
		t.Errorf("message %q", got)
	}
}
