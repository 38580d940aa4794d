package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An openVSwitch is one with its userspace datapath, in the namespace "far".
type openVSwitch struct{ dir string }

// startOpenVSwitch starts its two daemons, which end with the test.
func startOpenVSwitch(t *testing.T) *openVSwitch {
	t.Helper()
	dir, err := os.MkdirTemp("", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("OVS_RUNDIR", dir)
	t.Setenv("OVS_LOGDIR", dir)
	t.Setenv("OVS_DBDIR", dir)
	db, sock := filepath.Join(dir, "conf.db"), filepath.Join(dir, "db.sock")
	must(t, "ovsdb-tool", "create", db)
	start(t, in("far", "ovsdb-server", db, "--remote=punix:"+sock, "--unixctl="+filepath.Join(dir, "db.ctl"))...)
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	eventually(t, 10*time.Second, "ovsdb-server listens", func() bool { return exists(sock) })
	o := &openVSwitch{dir}
	o.configure(t, "--no-wait", "init")
	start(t, in("far", "ovs-vswitchd", "unix:"+sock, "--disable-system", "--unixctl="+filepath.Join(dir, "vs.ctl"))...)
	return o
}

// configure runs ovs-vsctl.
func (o *openVSwitch) configure(t *testing.T, args ...string) {
	t.Helper()
	must(t, append([]string{"ovs-vsctl", "--db=unix:" + filepath.Join(o.dir, "db.sock"), "--timeout=20"}, args...)...)
}

// underlay makes the bridge that holds u1 and, on its own interface, the far
// VTEP's addresses: as Open vSwitch wants it for tunnels without the kernel.
func (o *openVSwitch) underlay(t *testing.T) {
	t.Helper()
	hardware := must(t, "ip", "-n", "far", "-br", "link", "show", "u1")
	o.configure(t, "add-br", "phy", "--", "set", "bridge", "phy", "datapath_type=netdev", "other-config:hwaddr="+strings.Fields(hardware)[2],
		"--", "add-port", "phy", "u1")
	ip(t, `-n far addr flush dev u1
		-n far addr add 10.9.0.2/24 dev phy
		-n far addr add fd09::2/64 dev phy nodad
		-n far link set phy up`)
}

// station makes the bridge with the VXLAN port towards weft, and a station on its
// own interface.
func (o *openVSwitch) station(t *testing.T, mtu, remote string, options ...string) {
	t.Helper()
	args := []string{"add-br", "vx0", "--", "set", "bridge", "vx0", "datapath_type=netdev", "other-config:hwaddr=" + farInner,
		"--", "set", "interface", "vx0", "mtu_request=" + mtu,
		"--", "add-port", "vx0", "tunnel", "--", "set", "interface", "tunnel", "type=vxlan", `options:remote_ip="` + remote + `"`, "options:key=4097"}
	o.configure(t, append(args, options...)...)
	ip(t, `-n far addr add `+far4+`/24 dev vx0
		-n far addr add `+far6+`/64 dev vx0 nodad
		-n far link set vx0 up`)
}

func TestOpenVSwitch(t *testing.T) {
	needs(t, "ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl")
	isolated(t, func(t *testing.T) {
		for _, c := range []struct {
			name, near, there, mtu, megabytes string
			options                           []string
		}{
			{"IPv4", near4, there4, "1450", "100", []string{"options:csum=true"}},
			{"IPv6", near6, there6, "1430", "10", nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				cable(t)
				wireOnly(t, "", "u0") // it reads raw frames
				n := openNode(t, c.near)
				n.overlay(t, c.there)
				n.serve(t)
				o := startOpenVSwitch(t)
				o.underlay(t)
				o.station(t, c.mtu, c.near, c.options...)
				start(t, in("far", weft(), "tool", "serve")...)
				pings(t, n, 10*time.Second)
				exchange(t, n, c.megabytes)
			})
		}
	})
}
