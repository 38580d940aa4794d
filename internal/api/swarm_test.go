package api

import (
	"context"
	"encoding/json"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"weft/internal/cnm"
)

// A backend that knows nothing of swarms answers as a node outside of every one.
func TestNoSwarm(t *testing.T) {
	s := NewServer(newMemory(), nil)
	for _, c := range []struct {
		method, path, body string
		code               int
		part               string
	}{
		{"GET", "/swarm", "", 503, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`},
		{"POST", "/swarm/init", `{"ListenAddr":"0.0.0.0:2377"}`, 501, "swarm init is not available"},
		{"POST", "/swarm/join", `{"RemoteAddrs":["192.0.2.1"]}`, 501, "swarm join is not available"},
		{"POST", "/swarm/leave", "", 503, "This node is not part of a swarm"},
		{"POST", "/swarm/update?version=1", `{}`, 503, "not a swarm manager"},
		{"GET", "/swarm/unlockkey", "", 503, "not a swarm manager"},
		{"POST", "/swarm/unlock", `{"UnlockKey":"k"}`, 503, "not a swarm manager"},
		{"GET", "/nodes", "", 503, "not a swarm manager"},
		{"GET", "/v1.41/nodes/self", "", 503, "not a swarm manager"},
		{"POST", "/nodes/self/update?version=1", `{}`, 503, "not a swarm manager"},
		{"DELETE", "/nodes/self", "", 503, "not a swarm manager"},
		{"GET", "/weft/v1/nodes", "", 503, "not a swarm manager"},
		{"POST", "/weft/v1/swarm/rotate-keys", `{}`, 503, "not a swarm manager"},
		{"GET", "/weft/v1/swarm/backup", "", 503, "not a swarm manager"},
		{"POST", "/weft/v1/swarm/restore", "backup", 501, "swarm restore is not available"},
		{"GET", "/tasks", "", 503, "not a swarm manager"},
	} {
		w := ask(s, c.method, c.path, c.body)
		if w.Code != c.code || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, w.Code, w.Body, c.code, c.part)
		}
	}
	if got := ask(s, "GET", "/_ping", "").Header().Get("Swarm"); got != "inactive" {
		t.Errorf("pinged as %q", got)
	}
}

func TestSwarmGolden(t *testing.T) {
	s := NewServer(inSwarm(t), nil)
	golden(t, "swarm", ask(s, "GET", "/swarm", "").Body.Bytes())
	list := strings.NewReplacer(machine(runtime.GOARCH), "A", runtime.GOOS, "O").Replace(ask(s, "GET", "/nodes", "").Body.String())
	golden(t, "node-list", []byte(list))
	golden(t, "weft-nodes", ask(s, "GET", "/weft/v1/nodes", "").Body.Bytes())
	golden(t, "info-swarm", remarshal(decodeAnswer[system.Info](t, ask(s, "GET", "/info", "")).Swarm))
}

// What a ping and /info say in each state.
func TestSwarmStates(t *testing.T) {
	for _, c := range []struct {
		name string
		info cnm.SwarmInfo
		ping string
		want string // info: state, control, error, cluster
	}{
		{"outside", cnm.SwarmInfo{State: "inactive"}, "inactive", "inactive false  false"},
		{"joining", cnm.SwarmInfo{State: "pending", NodeID: worker}, "pending", "pending false  false"},
		{"worker", cnm.SwarmInfo{State: "active", NodeID: worker}, "active/worker", "active false  false"},
		{"manager", cnm.SwarmInfo{State: "active", NodeID: selfID, Manager: true}, "active/manager", "active true  true"},
		{"locked", cnm.SwarmInfo{State: "locked", NodeID: selfID}, "locked", "locked false  false"},
		{"broken", cnm.SwarmInfo{State: "error", Error: "no disk"}, "error", "error false no disk false"},
	} {
		b := newSwarming()
		b.info = c.info
		s := NewServer(b, nil)
		if got := ask(s, "HEAD", "/_ping", "").Header().Get("Swarm"); got != c.ping {
			t.Errorf("%s: pinged as %q, want %q", c.name, got, c.ping)
		}
		i := decodeAnswer[system.Info](t, ask(s, "GET", "/info", "")).Swarm
		got := strings.Join([]string{string(i.LocalNodeState), word(i.ControlAvailable), i.Error, word(i.Cluster != nil)}, " ")
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func word(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// On a manager, what weft lacks is lacking.
func TestManagersLack(t *testing.T) {
	s := NewServer(inSwarm(t), nil)
	for _, path := range []string{"/services", "/tasks", "/secrets", "/configs"} {
		if w := ask(s, "GET", path, ""); w.Code != 501 || !strings.Contains(message(t, w), "weft has no s") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(s, "GET", "/services/x", ""); w.Code != 404 || message(t, w) != "No such service: x" {
		t.Errorf("one service: %d %s", w.Code, w.Body)
	}
}

func TestSwarmInit(t *testing.T) {
	for _, c := range []struct {
		name, body string
		code       int
		part       string // of the error
	}{
		{"as Docker's command", `{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"","DataPathAddr":"","DataPathPort":0,"DefaultAddrPool":null,
			"ForceNewCluster":false,"Spec":{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,"HeartbeatTick":0},"Dispatcher":{},
			"CAConfig":{},"TaskDefaults":{},"EncryptionConfig":{"AutoLockManagers":false}},"AutoLockManagers":false,"Availability":"active","SubnetSize":0}`, 200, ""},
		{"the daemon's own", `{"ListenAddr":"127.0.0.2:2377","AdvertiseAddr":"127.0.0.2:2377","DataPathAddr":"127.0.0.2","DataPathPort":4789}`, 200, ""},
		{"another address", `{"AdvertiseAddr":"192.0.2.1:2377"}`, 400, "the advertised address 192.0.2.1:2377 is not this daemon's: start it with --advertise-addr 192.0.2.1"},
		{"another port", `{"DataPathPort":4790}`, 400, "data path port 4790 is not this daemon's, which has 4789: start it with --data-path-port 4790"},
		{"no availability", `{"Availability":"often"}`, 400, `invalid Availability: "often"`},
		{"a name", `{"Spec":{"Name":"mine"}}`, 400, "name cannot be changed"},
		{"an authority", `{"Spec":{"CAConfig":{"ExternalCAs":[{"Protocol":"cfssl","URL":"https://x"}]}}}`, 501, "external certificate authorities"},
		{"a root", `{"Spec":{"CAConfig":{"SigningCACert":"PEM"}}}`, 501, "root certificate of your own"},
		{"a size", `{"SubnetSize":4294967295}`, 400, "expected a number of bits"},
		{"no body", "", 400, "EOF"},
	} {
		b := newSwarming()
		w := ask(NewServer(b, nil), "POST", "/swarm/init", c.body)
		if w.Code != c.code || c.code != 200 && !strings.Contains(message(t, w), c.part) || c.code == 200 && strings.TrimSpace(w.Body.String()) != `"`+selfID+`"` {
			t.Errorf("%s: %d %s, want %d %q", c.name, w.Code, w.Body, c.code, c.part)
		}
		if (b.info.NodeID != "") != (c.code == 200) {
			t.Errorf("%s: the backend is %+v", c.name, b.info)
		}
	}
	b := newSwarming()
	ask(NewServer(b, nil), "POST", "/swarm/init", `{"AutoLockManagers":true,"Availability":"drain","ForceNewCluster":true,"SubnetSize":26,"DefaultAddrPool":["10.8.0.0/16"],
		"Spec":{"Labels":{"a":"b"},"CAConfig":{"NodeCertExpiry":3600000000000}}}`)
	want := cnm.SwarmInit{
		Spec: cnm.SwarmSpec{Labels: map[string]string{"a": "b"}, CertExpiry: time.Hour, AutoLock: true}, Availability: cnm.Drain,
		Pools: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16")}, SubnetSize: 26, ForceNewCluster: true,
	}
	if !reflect.DeepEqual(b.inited, want) {
		t.Errorf("asked for %+v\nwant      %+v", b.inited, want)
	}
}

func TestSwarmJoinAndLeave(t *testing.T) {
	b := newSwarming()
	s := NewServer(b, nil)
	for _, c := range []struct {
		name, body, part string
	}{
		{"nobody", `{"JoinToken":"t"}`, "at least 1 RemoteAddr"},
		{"no port", `{"RemoteAddrs":["192.0.2.1:none"]}`, "expected ADDRESS:PORT"},
		{"no address", `{"RemoteAddrs":[":2377"]}`, "expected ADDRESS:PORT"},
		{"no availability", `{"RemoteAddrs":["192.0.2.1"],"Availability":"x"}`, "invalid Availability"},
		{"another address", `{"RemoteAddrs":["192.0.2.1"],"ListenAddr":"192.0.2.9:2377"}`, "the listen address 192.0.2.9:2377 is not this daemon's: start it with --advertise-addr 192.0.2.9"},
	} {
		if w := ask(s, "POST", "/swarm/join", c.body); w.Code != 400 || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	w := ask(s, "POST", "/swarm/join", `{"ListenAddr":"0.0.0.0:2377","RemoteAddrs":["192.0.2.1","192.0.2.2:77","[2001:db8::1]:78","2001:db8::2"],"JoinToken":"t","Availability":"pause"}`)
	if w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	want := []string{"192.0.2.1:2377", "192.0.2.2:77", "[2001:db8::1]:78", "[2001:db8::2]:2377"}
	var got []string
	for _, r := range b.joined.Remotes {
		got = append(got, r.String())
	}
	if !slices.Equal(got, want) || b.joined.Token != "t" || b.joined.Availability != cnm.Pause {
		t.Errorf("joined %+v", b.joined)
	}
	if w := ask(s, "POST", "/swarm/leave", ""); w.Code != 200 || b.info.State != "inactive" {
		t.Errorf("leave: %d %s %+v", w.Code, w.Body, b.info)
	}
	s = NewServer(inSwarm(t), nil)
	if w := ask(s, "POST", "/swarm/leave?force=0", ""); w.Code != 503 {
		t.Errorf("a manager left: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "POST", "/swarm/leave?force=1", ""); w.Code != 200 {
		t.Errorf("a manager was not forced: %d %s", w.Code, w.Body)
	}
}

func TestSwarmUpdate(t *testing.T) {
	b := inSwarm(t)
	b.swarm.Spec.KeyRotation = 5 * time.Hour
	s := NewServer(b, nil)
	for _, c := range []struct {
		name, query, body string
		code              int
		part              string
		rotated           cnm.SwarmRotate
	}{
		{"no version", "", `{}`, 400, "invalid swarm version ''", cnm.SwarmRotate{}},
		{"old version", "version=3", `{}`, 400, "update out of sequence", cnm.SwarmRotate{}},
		{"no boolean", "version=10&rotateWorkerToken=perhaps", `{}`, 400, "invalid value for rotateWorkerToken", cnm.SwarmRotate{}},
		{"another root", "version=10", `{"CAConfig":{"SigningCAKey":"k"}}`, 501, "not supported", cnm.SwarmRotate{}},
		{"tokens", "version=10&rotateWorkerToken=true&rotateManagerToken=1&rotateManagerUnlockKey=false", `{}`, 200, "", cnm.SwarmRotate{WorkerToken: true, ManagerToken: true}},
		{"unlock key", "version=20&rotateManagerUnlockKey=true", `{"EncryptionConfig":{"AutoLockManagers":true}}`, 200, "", cnm.SwarmRotate{UnlockKey: true}},
		{"root", "version=30", `{"Name":"default","CAConfig":{"ForceRotate":1}}`, 200, "", cnm.SwarmRotate{Root: true}},
		{"settings", "version=40", `{"Labels":{"a":"b"},"CAConfig":{"NodeCertExpiry":7200000000000}}`, 200, "", cnm.SwarmRotate{}},
	} {
		b.rotated = cnm.SwarmRotate{}
		w := ask(s, "POST", "/swarm/update?"+c.query, c.body)
		if w.Code != c.code || c.code != 200 && !strings.Contains(message(t, w), c.part) || b.rotated != c.rotated {
			t.Errorf("%s: %d %s, rotated %+v", c.name, w.Code, w.Body, b.rotated)
		}
	}
	want := cnm.SwarmSpec{Labels: map[string]string{"a": "b"}, CertExpiry: 2 * time.Hour, KeyRotation: 5 * time.Hour}
	if !reflect.DeepEqual(b.swarm.Spec, want) {
		t.Errorf("settings %+v, want %+v", b.swarm.Spec, want)
	}
}

func TestSwarmLock(t *testing.T) {
	b := newSwarming()
	s := NewServer(b, nil)
	ask(s, "POST", "/swarm/init", `{"Spec":{"EncryptionConfig":{"AutoLockManagers":true}}}`)
	if k := decodeAnswer[swarm.UnlockKeyResponse](t, ask(s, "GET", "/swarm/unlockkey", "")); k.UnlockKey != "SWMKEY-1-0" {
		t.Errorf("key %+v", k)
	}
	b.info.State, b.info.Manager = "locked", false
	for _, c := range []struct {
		name, key string
		code      int
	}{{"wrong", "SWMKEY-1-9", 400}, {"right", "SWMKEY-1-0", 200}, {"again", "SWMKEY-1-0", 409}} {
		if w := ask(s, "POST", "/swarm/unlock", `{"UnlockKey":"`+c.key+`"}`); w.Code != c.code {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

func TestNodeFilters(t *testing.T) {
	s := NewServer(inSwarm(t), nil)
	for _, c := range []struct {
		filters string
		want    string // host names
	}{
		{``, "host1 host2 lab3"},
		{`{"id":{"1st":true}}`, "host2"},
		{`{"id":["0","2"]}`, "host1 lab3"},
		{`{"name":{"host":true}}`, "host1 host2"},
		{`{"name":{"ost":true}}`, ""},
		{`{"role":{"manager":true}}`, "host1 host2"},
		{`{"role":{"worker":true}}`, "lab3"},
		{`{"membership":{"accepted":true}}`, "host1 host2 lab3"},
		{`{"membership":{"pending":true}}`, ""},
		{`{"node.label":{"rack=a":true,"ssd":true}}`, "lab3"},
		{`{"node.label":{"rack=b":true}}`, ""},
		{`{"label":{"rack":true}}`, ""},
		{`{"role":{"boss":true}}`, "invalid role filter: 'boss', expected manager or worker"},
		{`{"membership":{"odd":true}}`, "invalid membership filter: 'odd', expected accepted or pending"},
		{`{"colour":{"red":true}}`, "invalid filter 'colour': expected one of id, label, membership, name, node.label, role"},
	} {
		w := ask(s, "GET", "/nodes?filters="+url.QueryEscape(c.filters), "")
		if strings.HasPrefix(c.want, "invalid") {
			if w.Code != 400 || message(t, w) != c.want {
				t.Errorf("%s: %d %s", c.filters, w.Code, w.Body)
			}
			continue
		}
		got := []string{}
		for _, n := range decodeAnswer[[]swarm.Node](t, w) {
			got = append(got, n.Description.Hostname)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.filters, got, c.want)
		}
	}
}

func TestNodeChanges(t *testing.T) {
	b := inSwarm(t)
	s := NewServer(b, nil)
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		part                     string
	}{
		{"no version", "POST", "/nodes/lab3/update", `{}`, 400, "invalid node version ''"},
		{"nobody", "POST", "/nodes/x/update?version=1", `{}`, 404, "node x not found"},
		{"no role", "POST", "/nodes/lab3/update?version=13", `{"Role":"boss"}`, 400, `invalid Role: "boss"`},
		{"no availability", "POST", "/nodes/lab3/update?version=13", `{"Availability":"x"}`, 400, "invalid Availability"},
		{"out of sequence", "POST", "/nodes/lab3/update?version=12", `{}`, 400, "update out of sequence"},
		{"promote", "POST", "/nodes/lab3/update?version=13", `{"Role":"manager","Labels":{"rack":"b"}}`, 200, ""},
		{"remove a live one", "DELETE", "/nodes/lab3", "", 409, "is not down and can't be removed"},
		{"remove", "DELETE", "/nodes/1standby", "", 200, ""},
		{"remove again", "DELETE", "/nodes/1standby", "", 404, "not found"},
	} {
		w := ask(s, c.method, c.path, c.body)
		if w.Code != c.code || c.code != 200 && !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	n := decodeAnswer[swarm.Node](t, ask(s, "GET", "/nodes/lab3", ""))
	got, _ := json.Marshal(n.Spec)
	if want := `{"Labels":{"rack":"b"},"Role":"manager","Availability":"drain"}`; string(got) != want || n.ManagerStatus == nil {
		t.Errorf("updated to %s, want %s", got, want)
	}
}

// While a root is replaced, the swarm and each node say whose certificates are of
// which, as Docker's command compares them.
func TestRootRotation(t *testing.T) {
	b := inSwarm(t)
	s := NewServer(b, nil)
	b.swarm.OldRootPEM, b.swarm.RootPEM, b.swarm.RootRotation = b.swarm.RootPEM, rootPEM(t, 2), true
	b.nodes[1].OldRoot = true
	old, fresh := tlsInfo(b.swarm.OldRootPEM), tlsInfo(b.swarm.RootPEM)
	want := swarm.TLSInfo{TrustRoot: old.TrustRoot, CertIssuerSubject: fresh.CertIssuerSubject, CertIssuerPublicKey: fresh.CertIssuerPublicKey}
	if c := decodeAnswer[swarm.Swarm](t, ask(s, "GET", "/swarm", "")); !reflect.DeepEqual(c.TLSInfo, want) || !c.RootRotationInProgress {
		t.Errorf("the swarm: %+v, want %+v", c.TLSInfo, want)
	}
	for _, n := range decodeAnswer[[]swarm.Node](t, ask(s, "GET", "/nodes", "")) {
		of := want
		if n.ID == standby {
			of = old
		}
		if !reflect.DeepEqual(n.Description.TLSInfo, of) {
			t.Errorf("node %s: %+v, want %+v", n.ID, n.Description.TLSInfo, of)
		}
	}
}

func TestClientSwarm(t *testing.T) {
	b := inSwarm(t)
	_, sock := serve(t, b)
	c := newTestClient(t, "unix://"+sock)
	ctx := context.Background()
	nodes, err := c.Nodes(ctx)
	if err != nil || len(nodes) != 3 || !nodes[0].Voter || nodes[1].Voter || nodes[1].Message != b.nodes[1].Message {
		t.Errorf("%+v, %v", nodes, err)
	}
	for _, c2 := range []struct{ period, want time.Duration }{{0, 0}, {time.Hour, time.Hour}, {0, time.Hour}} {
		b.rotated = cnm.SwarmRotate{}
		if err := c.RotateKeys(ctx, c2.period); err != nil || b.rotated != (cnm.SwarmRotate{Keys: true}) || b.swarm.Spec.KeyRotation != c2.want {
			t.Errorf("every %v: %v, %+v %+v", c2.period, err, b.rotated, b.swarm.Spec)
		}
	}
	if err := c.RotateKeys(ctx, -1); err == nil {
		t.Error("a negative period was taken")
	}
	p, err := c.Ping(ctx, client.PingOptions{})
	if err != nil || p.SwarmStatus == nil || !p.SwarmStatus.ControlAvailable {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestDemotedNode: a node that was demoted while it is away still has the address of a
// manager, and is none.
func TestDemotedNode(t *testing.T) {
	n := cnm.SwarmNode{ID: "n", Control: netip.MustParseAddrPort("127.0.0.3:2377"), State: cnm.NodeDown}
	for role, want := range map[cnm.Role]bool{cnm.Manager: true, cnm.Worker: false} {
		n.Spec.Role = role
		if got := nodeWire(n).ManagerStatus != nil; got != want {
			t.Errorf("%s: the status of a manager: %v", role, got)
		}
	}
}
