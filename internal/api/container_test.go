package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
	"weft/internal/frame"
)

const createA = `{"Hostname":"h","Domainname":"d.example","Cmd":["sleep","1000"],"Env":["A=b"],"WorkingDir":"/tmp","Tty":false,"OpenStdin":true,"StdinOnce":true,
	"Labels":{"env":"prod","weft.rootfs":"/srv/root"},"StopSignal":"SIGINT","StopTimeout":3,"Image":"scratch",
	"HostConfig":{"NetworkMode":"bridge","AutoRemove":true,"Sysctls":{"net.ipv4.ip_forward":"1"},"ExtraHosts":["db:10.0.0.9"],
		"Dns":["9.9.9.9"],"DnsSearch":["example"],"DnsOptions":["ndots:2"],"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"Memory":1000000}}`

func TestContainerCreate(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	w := ask(s, "POST", "/v1.41/containers/create?name=a", createA)
	if w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	res := decodeAnswer[container.CreateResponse](t, w)
	if want := []string{"Memory limits are not supported by weft. Setting discarded."}; !slices.Equal(res.Warnings, want) {
		t.Errorf("warnings %q, want %q", res.Warnings, want)
	}
	b, err := m.Sandbox(res.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := cnm.SandboxSpec{
		Name: "a", Hostname: "h", Domainname: "d.example", Cmd: []string{"sleep", "1000"}, Env: []string{defaultPath, "A=b"},
		Dir: "/tmp", Rootfs: "/srv/root", OpenStdin: true, StdinOnce: true, AutoRemove: true,
		Labels:  map[string]string{"env": "prod", "weft.rootfs": "/srv/root"},
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}, ExtraHosts: []string{"db:10.0.0.9"},
		DNS: b.Spec.DNS, DNSSearch: []string{"example"}, DNSOptions: []string{"ndots:2"},
		StopSignal: "SIGINT", StopTimeout: 3 * time.Second, Networks: []cnm.NetworkJoin{{Network: "bridge"}},
	}
	if !reflect.DeepEqual(b.Spec, want) || fmt.Sprint(b.Spec.DNS) != "[9.9.9.9]" {
		t.Errorf("spec %+v\nwant %+v", b.Spec, want)
	}
	if w := ask(s, "POST", "/containers/create?name=a", createA); w.Code != 409 || !strings.Contains(message(t, w), "already in use") {
		t.Errorf("same name: %d %s", w.Code, w.Body)
	}
}

// Links of a container are those of the network that its mode names, unless that has some.
func TestContainerLinks(t *testing.T) {
	for body, want := range map[string]string{
		`{"Cmd":["x"],"HostConfig":{"NetworkMode":"n","Links":["db:mydb"]}}`:                                                                         "[{n [db:mydb]}]",
		`{"Cmd":["x"],"HostConfig":{"NetworkMode":"n","Links":["db:mydb"]},"NetworkingConfig":{"EndpointsConfig":{"a":{},"n":{"Links":["web:w"]}}}}`: "[{n [web:w]} {a []}]",
	} {
		var req createRequest
		if err := json.Unmarshal([]byte(body), &req); err != nil {
			t.Fatal(err)
		}
		spec, _, err := sandboxModel("", req)
		type links struct {
			network string
			links   []string
		}
		var got []links
		for _, j := range spec.Networks {
			got = append(got, links{j.Network, j.Config.Links})
		}
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", body, got, err, want)
		}
	}
}

func TestContainerCreateNetworks(t *testing.T) {
	for _, c := range []struct {
		name, body string
		mode       string
		joins      string // NETWORK ... in order
		err        string
	}{
		{"nothing said", `{}`, "", "bridge", ""},
		{"default", `{"HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{"Aliases":["x"]}}}}`, "", "bridge[x]", ""},
		{"none", `{"HostConfig":{"NetworkMode":"none"}}`, "none", "", ""},
		{"host with its endpoint", `{"HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"host":{}}}}`, "host", "", ""},
		{"disabled", `{"NetworkDisabled":true}`, "none", "", ""},
		{"none and another", `{"HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"n":{}}}}`, "", "", "conflicting options"},
		{"mode first", `{"HostConfig":{"NetworkMode":"n"},"NetworkingConfig":{"EndpointsConfig":{"a":{},"n":{"Aliases":["y"]},"b":null}}}`, "", "n[y] a b", ""},
		{"endpoints only", `{"NetworkingConfig":{"EndpointsConfig":{"b":{},"a":{}}}}`, "", "a b", ""},
		{"order by label", `{"Labels":{"weft.networks":"b,n,a"},"HostConfig":{"NetworkMode":"n"},"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}`, "", "b n a", ""},
		{"label with a stranger", `{"Labels":{"weft.networks":"b,z"},"HostConfig":{"NetworkMode":"b"}}`, "", "", "must name each of the networks once: b"},
		{"old place of the MAC", `{"MacAddress":"02:00:00:00:00:09","HostConfig":{"NetworkMode":"n"}}`, "", "n 02:00:00:00:00:09", ""},
		{"endpoint's MAC wins", `{"MacAddress":"02:00:00:00:00:09","HostConfig":{"NetworkMode":"n"},
			"NetworkingConfig":{"EndpointsConfig":{"n":{"MacAddress":"02:00:00:00:00:01"}}}}`, "", "n 02:00:00:00:00:01", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := `{"Cmd":["true"],` + strings.TrimPrefix(c.body, "{")
			body = strings.Replace(body, ",}", "}", 1)
			var req createRequest
			if err := json.Unmarshal([]byte(body), &req); err != nil {
				t.Fatal(err)
			}
			spec, _, err := sandboxModel("", req)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			var joins []string
			for _, j := range spec.Networks {
				s := j.Network
				if len(j.Config.Aliases) > 0 {
					s += fmt.Sprint(j.Config.Aliases)
				}
				if j.Config.MAC != (frame.MAC{}) {
					s += " " + wireMAC(j.Config.MAC).String()
				}
				joins = append(joins, s)
			}
			if got := strings.Join(joins, " "); err != nil || got != c.joins || spec.NetworkMode != c.mode {
				t.Errorf("joins %q, mode %q, %v; want %q, %q", got, spec.NetworkMode, err, c.joins, c.mode)
			}
		})
	}
}

func TestContainerCreateRefused(t *testing.T) {
	s := NewServer(newMemory(), nil)
	for _, c := range []struct {
		body string
		code int
		part string
	}{
		{`{}`, 400, "config cannot be empty"},
		{`{"Image":"scratch"}`, 400, "no command specified"},
		{`{"Cmd":["x"],"Image":"alpine"}`, 501, "weft has no images"},
		{`{"Cmd":["x"],"User":"1000"}`, 501, "user 1000"},
		{`{"Cmd":["x"],"HostConfig":{"Binds":["/a:/b"]}}`, 501, "mounts"},
		{`{"Cmd":["x"],"HostConfig":{"NetworkMode":"container:a"}}`, 501, "network mode container:a"},
		{`{"Cmd":["x"],"HostConfig":{"RestartPolicy":{"Name":"always"}}}`, 501, "restart policy always"},
		{`{"Cmd":["x"],"HostConfig":{"Privileged":true}}`, 501, "privileged"},
		{`{"Cmd":["x"],"HostConfig":{"PidMode":"host"}}`, 501, "pid mode"},
		{`{"Cmd":["x"],"HostConfig":{"NetworkMode":"bridge","Links":["db:mydb"]}}`, 501, "links are not supported on the default network (db:mydb)"},
		{`{"Cmd":["x"],"HostConfig":{"Links":["db:mydb"]}}`, 501, "links are not supported on the default network (db:mydb)"},
		{`{"Cmd":["x"],"HostConfig":{"Dns":["nine"]}}`, 400, "invalid JSON"},
	} {
		w := ask(s, "POST", "/containers/create", c.body)
		if w.Code != c.code || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s: %d %s, want %d %q", c.body, w.Code, w.Body, c.code, c.part)
		}
	}
}

func TestContainerInspectGolden(t *testing.T) {
	m := at(newMemory())
	s := NewServer(m, nil)
	if w := ask(s, "POST", "/containers/create?name=a", strings.Replace(createA, `"AutoRemove":true,`, "", 1)); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	golden(t, "container-created", ask(s, "GET", "/containers/a/json", "").Body.Bytes())
	m.networks[0].IPAM.Config = subnet("172.17.0.0/16", "172.17.0.1")
	if w := ask(s, "POST", "/containers/a/start", ""); w.Code != 204 {
		t.Fatalf("start: %d %s", w.Code, w.Body)
	}
	t.Cleanup(m.endAll)
	golden(t, "container-running", ask(s, "GET", "/containers/a/json", "").Body.Bytes())
	golden(t, "container-running-1.41", ask(s, "GET", "/v1.41/containers/a/json", "").Body.Bytes())
	golden(t, "container-list", normal(ask(s, "GET", "/containers/json", "").Body.Bytes()))
}

func TestContainerListFilters(t *testing.T) {
	m := newMemory()
	m.now = ticking()
	s := NewServer(m, nil)
	ask(s, "POST", "/networks/create", createFront)
	withSandbox(t, m, cnm.SandboxSpec{Name: "web1", Labels: map[string]string{"tier": "web"}, Networks: []cnm.NetworkJoin{{Network: "front"}}})
	withSandbox(t, m, cnm.SandboxSpec{Name: "web2", Labels: map[string]string{"tier": "web"}})
	for _, n := range []string{"made", "gone"} {
		ask(s, "POST", "/containers/create?name="+n, `{"Cmd":["both"],"HostConfig":{"NetworkMode":"host"}}`)
	}
	ask(s, "POST", "/containers/gone/start", "")
	ask(s, "POST", "/containers/gone/wait", "")
	front, _ := m.Network("front")
	web1, _ := m.Sandbox("web1")
	for _, c := range []struct {
		query, filters string
		want           []string // newest first; nil: refused
	}{
		{"", ``, []string{"web2", "web1"}},
		{"all=1&", ``, []string{"gone", "made", "web2", "web1"}},
		{"all=false&", ``, []string{"web2", "web1"}},
		{"limit=1&", ``, []string{"gone"}},
		{"limit=-1&", ``, []string{"web2", "web1"}},
		{"", `{"status":{"exited":true}}`, []string{"gone"}},
		{"", `{"status":{"created":true,"running":true}}`, []string{"made", "web2", "web1"}},
		{"", `{"exited":{"3":true}}`, []string{"gone"}},
		{"", `{"exited":{"0":true}}`, []string{}},
		{"", `{"name":{"web":true}}`, []string{"web2", "web1"}},
		{"", `{"name":{"^/web1$":true}}`, []string{"web1"}},
		{"", `{"id":{"` + web1.ID[:6] + `":true}}`, []string{"web1"}},
		{"", `{"network":{"front":true}}`, []string{"web1"}},
		{"", `{"network":{"` + front.ID + `":true}}`, []string{"web1"}},
		{"all=1&", `{"network":{"host":true}}`, []string{"gone", "made"}},
		{"", `{"label":{"tier=web":true}}`, []string{"web2", "web1"}},
		{"", `{"label":{"tier=db":true}}`, []string{}},
		{"all=1&", `{"ancestor":{"scratch":true}}`, []string{"gone", "made", "web2", "web1"}},
		{"all=1&", `{"ancestor":{"alpine":true}}`, []string{}},
		{"all=1&", `{"before":{"made":true}}`, []string{"web2", "web1"}},
		{"all=1&", `{"since":{"web2":true}}`, []string{"gone", "made"}},
		{"all=1&", `{"volume":{"v":true}}`, []string{}},
		{"", `{"status":{"asleep":true}}`, nil},
		{"", `{"exited":{"x":true}}`, nil},
		{"", `{"colour":{"red":true}}`, nil},
		{"limit=x&", ``, nil},
	} {
		w := ask(s, "GET", "/containers/json?"+c.query+"filters="+url.QueryEscape(c.filters), "")
		if c.want == nil {
			if w.Code != 400 {
				t.Errorf("%s%s: %d %s, want 400", c.query, c.filters, w.Code, w.Body)
			}
			continue
		}
		got := []string{}
		for _, n := range decodeAnswer[[]container.Summary](t, w) {
			got = append(got, strings.TrimPrefix(n.Names[0], "/"))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s%s: %v, want %v", c.query, c.filters, got, c.want)
		}
	}
	if w := ask(s, "GET", "/containers/json?filters="+url.QueryEscape(`{"before":{"nobody":true}}`), ""); w.Code != 404 {
		t.Errorf("before nobody: %d", w.Code)
	}
}

func TestContainerLife(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	ask(s, "POST", "/containers/create?name=a", `{"Cmd":["sleep"]}`)
	t.Cleanup(m.endAll)
	for _, c := range []struct {
		method, path string
		code         int
		part         string
	}{
		{"POST", "/containers/a/kill", 409, "is not running"},
		{"POST", "/containers/a/stop", 304, ""},
		{"POST", "/containers/a/start", 204, ""},
		{"POST", "/containers/a/start", 304, ""},
		{"DELETE", "/containers/a", 409, "stop the container before removing"},
		{"POST", "/containers/a/resize?h=24&w=80", 200, ""},
		{"POST", "/containers/a/resize?h=24", 400, "h and w must be numbers"},
		{"POST", "/containers/a/resize?h=70000&w=1", 400, "h and w must be numbers"},
		{"POST", "/containers/a/kill?signal=NONSENSE", 400, "invalid signal"},
		{"POST", "/containers/a/restart?t=5", 204, ""},
		{"POST", "/containers/a/stop?t=soon", 400, "t must be a number"},
		{"POST", "/containers/a/stop?signal=SIGINT&t=10", 204, ""},
		{"POST", "/containers/a/restart", 204, ""},
		{"POST", "/containers/a/rename?name=/b", 204, ""},
		{"GET", "/containers/a/json", 404, "No such container: a"},
		{"POST", "/containers/b/rename", 400, "empty"},
		{"DELETE", "/containers/b?link=1", 501, "links of containers are not supported"},
		{"DELETE", "/containers/b?link=1&force=1", 501, "links of containers are not supported"},
		{"DELETE", "/containers/b?force=1&link=0", 204, ""},
		{"DELETE", "/containers/b?force=1", 404, "No such container: b"},
	} {
		w := ask(s, c.method, c.path, "")
		if w.Code != c.code || c.part != "" && !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s %s: %d %s, want %d %q", c.method, c.path, w.Code, w.Body, c.code, c.part)
		}
		if c.path == "/containers/a/stop?signal=SIGINT&t=10" {
			if b, _ := m.Sandbox("a"); b.ExitCode != 130 {
				t.Errorf("exit code %d, want 130: the signal was not handed on", b.ExitCode)
			}
		}
	}
}

func TestContainerPrune(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	run := withSandbox(t, m, cnm.SandboxSpec{Name: "run"})
	ask(s, "POST", "/containers/create?name=kept", `{"Cmd":["x"],"Labels":{"keep":"1"}}`)
	ask(s, "POST", "/containers/create?name=gone", `{"Cmd":["x"]}`)
	gone, _ := m.Sandbox("gone")
	w := ask(s, "POST", "/containers/prune?filters="+url.QueryEscape(`{"label!":{"keep":true}}`), "")
	got := decodeAnswer[container.PruneReport](t, w)
	if !slices.Equal(got.ContainersDeleted, []string{gone.ID}) {
		t.Errorf("pruned %v, want %v", got.ContainersDeleted, gone.ID)
	}
	if _, err := m.Sandbox(run); err != nil {
		t.Error("a running sandbox was pruned")
	}
}

func TestStatusWords(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, c := range []struct {
		b    cnm.Sandbox
		want string
	}{
		{cnm.Sandbox{State: cnm.Created}, "Created"},
		{cnm.Sandbox{State: cnm.Running, Started: now.Add(-5 * time.Minute)}, "Up 5 minutes"},
		{cnm.Sandbox{State: cnm.Running, Started: now}, "Up Less than a second"},
		{cnm.Sandbox{State: cnm.Exited, ExitCode: 3, Finished: now.Add(-2 * time.Hour)}, "Exited (3) 2 hours ago"},
		{cnm.Sandbox{State: cnm.Dead}, "Dead"},
	} {
		if got := status(c.b, now); got != c.want {
			t.Errorf("%+v: %q, want %q", c.b.State, got, c.want)
		}
	}
}

func TestParseTop(t *testing.T) {
	out := "UID PID CMD\nroot 1 sleep 1000 and more\nroot 7 ps -ef\n"
	top, err := parseTop([]byte(out), "ps -ef")
	want := container.TopResponse{Titles: []string{"UID", "PID", "CMD"}, Processes: [][]string{{"root", "1", "sleep 1000 and more"}}}
	if err != nil || !reflect.DeepEqual(top, want) {
		t.Errorf("%+v, %v; want %+v", top, err, want)
	}
	if _, err := parseTop(nil, "ps"); statusOf(err) != 400 {
		t.Errorf("nothing: %v", err)
	}
}
