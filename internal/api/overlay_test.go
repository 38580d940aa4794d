package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
)

const createWide = `{"Name":"wide","CheckDuplicate":true,"Driver":"overlay","EnableIPv6":false,"Attachable":true,"Scope":"",
	"Options":{"weft.vni":"4097","weft.peers":"192.0.2.2,192.0.2.3:4790,2001:db8::2"},
	"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.0.9.0/24","IPRange":"10.0.9.0/26","Gateway":"10.0.9.1"}]}}`

// An overlay has Docker's shape: its peers, its VNI under Docker's name too, its MTU.
func TestOverlayGolden(t *testing.T) {
	s := NewServer(at(newMemory()), nil)
	if w := ask(s, "POST", "/v1.41/networks/create", createWide); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	golden(t, "overlay-inspect", ask(s, "GET", "/networks/wide", "").Body.Bytes())
	for _, n := range decodeAnswer[[]network.Summary](t, ask(s, "GET", `/networks?filters={"driver":["overlay"]}`, "")) {
		if n.Name != "wide" || n.Scope != "local" || n.Options["com.docker.network.driver.mtu"] != "1450" || n.Peers != nil {
			t.Errorf("listed as %+v", n)
		}
	}
	if w := ask(s, "GET", "/networks/bridge", ""); strings.Contains(w.Body.String(), "Peers") {
		t.Errorf("a bridge has peers: %s", w.Body)
	}
}

// What the docker command makes of an overlay, and of one that cannot be.
func TestDockerOverlay(t *testing.T) {
	eachDocker(t, func(d *docker, m *memory) {
		d.ok("network", "create", "-d", "overlay", "--attachable", "--subnet", "10.0.9.0/24", "--ip-range", "10.0.9.64/26",
			"-o", "weft.vni=4097", "-o", "weft.peers=192.0.2.2,192.0.2.3:4790", "wide")
		d.want("overlay local true 4097 4097 1450 [192.0.2.2:4789 192.0.2.3:4790]", "network", "inspect", "-f",
			`{{.Driver}} {{.Scope}} {{.Attachable}} {{index .Options "weft.vni"}} {{index .Options "com.docker.network.driver.overlay.vxlanid_list"}} `+
				`{{index .Options "com.docker.network.driver.mtu"}} [{{range $i, $p := .Peers}}{{if $i}} {{end}}{{$p.Name}}{{end}}]`, "wide")
		d.want("wide overlay local", "network", "ls", "-f", "driver=overlay", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")
		d.fails(1, "its presence alone encrypts a network", "network", "create", "-d", "overlay", "--opt", "encrypted=false", "secret")
		d.fails(1, "network secret not found", "network", "inspect", "secret")
		d.ok("network", "create", "-d", "overlay", "--opt", "encrypted", "back")
		d.want("[] aes-256-gcm", "network", "inspect", "-f", `[{{index .Options "encrypted"}}] {{index .Options "weft.cipher"}}`, "back")
		d.want("back", "network", "rm", "back")
		d.want("wide", "network", "rm", "wide")
	})
}

func TestPeers(t *testing.T) {
	s := NewServer(newMemory(), nil)
	for _, name := range []string{"wide", "empty"} {
		if w := ask(s, "POST", "/networks/create", strings.Replace(createWide, "wide", name, 1)); w.Code != http.StatusCreated {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	golden(t, "peers", ask(s, "GET", "/weft/v1/peers", "").Body.Bytes())
	id := decodeAnswer[network.Inspect](t, ask(s, "GET", "/networks/wide", "")).ID
	for _, c := range []struct {
		name, ref string
		code      int
		want      int
	}{
		{"all", "", 200, 3},
		{"one", "wide", 200, 2},
		{"by id", id[:12], 200, 2},
		{"without peers", "empty", 200, 0},
		{"unknown", "nowhere", 404, 0},
	} {
		w := ask(s, "GET", "/weft/v1/peers?network="+c.ref, "")
		if w.Code != c.code {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
			continue
		}
		if w.Code == 404 {
			if message(t, w) != "network nowhere not found" {
				t.Errorf("%s: %s", c.name, w.Body)
			}
			continue
		}
		if p := decodeAnswer[Peers](t, w); len(p.Peers) != c.want || p.Peers == nil || len(p.Underlays) != 1 {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
}
