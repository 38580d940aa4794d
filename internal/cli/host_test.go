package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/internal/node"
	"weft/tap"
)

func TestChooseHost(t *testing.T) {
	for _, tt := range []struct {
		name, flag, env string
		want, err       string
		explicit        bool
	}{
		{name: "flag wins", flag: "unix:///a.sock", env: "unix:///b.sock", want: "unix:///a.sock", explicit: true},
		{name: "environment", env: "unix:///b.sock", want: "unix:///b.sock", explicit: true},
		{name: "path alone", flag: "/a.sock", want: "unix:///a.sock", explicit: true},
		{name: "tcp", flag: "tcp://127.0.0.1:1", want: "tcp://127.0.0.1:1", explicit: true},
		{name: "too long", flag: "/" + strings.Repeat("x", node.MaxSocketPath), err: "choose a shorter one"},
		{name: "relative", flag: "a.sock", err: "expected a socket"},
		{name: "relative url", flag: "unix://a.sock", err: "absolute path"},
	} {
		a := &app{host: tt.flag, getenv: func(string) string { return tt.env }}
		h, err := a.chooseHost()
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, expected %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || h.url != tt.want || h.explicit != tt.explicit {
			t.Errorf("%s: %+v, %v", tt.name, h, err)
		}
	}
}

// The API authenticates nobody: it is not served where others reach it.
func TestCheckListen(t *testing.T) {
	for _, tt := range []struct {
		host string
		ok   bool
	}{
		{"unix:///run/weft.sock", true}, {"tcp://127.0.0.1:2375", true}, {"tcp://127.9.8.7:1", true}, {"tcp://[::1]:2375", true},
		{"tcp://localhost:2375", true}, {"tcp://[::ffff:127.0.0.1]:1", true},
		{"tcp://0.0.0.0:2375", false}, {"tcp://:2375", false}, {"tcp://[::]:2375", false}, {"tcp://192.0.2.1:2375", false},
		{"tcp://example.com:2375", false}, {"tcp://127.0.0.1", false}, {"tcp://localhost.example.com:1", false},
	} {
		if err := checkListen(tt.host); (err == nil) != tt.ok || (err != nil && exitCode(err) != exitUsage) {
			t.Errorf("%s: %v", tt.host, err)
		}
	}
}

func TestRuntimeDir(t *testing.T) {
	own := t.TempDir()
	uid := os.Getuid()
	fallback := filepath.Join("/tmp", "weft-"+strconv.Itoa(uid))
	for _, tt := range []struct{ name, xdg, want string }{
		{"the user's", own, filepath.Join(own, "weft")},
		{"not set", "", fallback},
		{"not there", filepath.Join(own, "none"), fallback},
	} {
		a := &app{getenv: func(string) string { return tt.xdg }}
		want := tt.want
		if uid == 0 {
			want = "/run/weft"
		}
		if got, err := a.runtimeDir(); err != nil || got != want {
			t.Errorf("%s: %s, %v, expected %s", tt.name, got, err, want)
		}
	}
}

func TestPrivateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "weft")
	for range 2 { // made, then found
		if err := privateDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := privateDir(link); err == nil {
		t.Error("a symbolic link is taken for the directory it points to")
	}
	if os.Getuid() == 0 {
		theirs := t.TempDir()
		if err := os.Chown(theirs, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if err := privateDir(theirs); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("somebody else's directory: %v", err)
		}
	}
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(path, false); err == nil {
		t.Error("the lock was given twice")
	}
	first.Close()
	again, err := lockFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDaemonConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.yaml")
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[daemonFlags]()) {
		if key := f.Tag.Get("yaml"); key != "" && !f.Anonymous {
			keys = append(keys, key)
		}
	}
	if slices.Sort(keys); !slices.Equal(keys, configKeys()) {
		t.Errorf("the config file takes %v, errors name %v", keys, configKeys())
	}
	for _, tt := range []struct{ name, text, err string }{
		{"all", "host: unix:///a.sock\ndata-dir: /a\nlog-level: debug\nlog-format: json\nworkers: 3\ntap-offload: tso\ndefault-address-pool: ['base=10.10.0.0/16,size=24']\n", ""},
		{"empty", "", ""},
		{"unknown key", "# mine\ndatadir: /a\n", ": line 2: unknown key \"datadir\"; known: advertise-addr, aes, control-port, data-dir, data-path-addr, data-path-port, default-address-pool, esp-encapsulation, esp-keepalive, esp-port, gossip-interval, gossip-port, gossip-probe-interval, gossip-probe-timeout, gossip-profile, gossip-sync-interval, host, host-loopback, log-format, log-level, no-udp-gro, no-udp-gso, node-name, tap-offload, uplink, uplink-addr, uplink-gateway, uplink-mac, workers"},
		{"twice", "workers: 1\nworkers: 2\n", ": line 2: key \"workers\" stands twice, first on line 1"},
		{"wrong type", "workers: many\n", ": line 1: workers: expected a number"},
		{"no such offload", "tap-offload: gso\n", "tap-offload \"gso\": expected uso, tso, plain or water"},
		{"relative", "data-dir: a\n", "absolute path"},
		{"no mapping", "- a\n", ": line 1: expected KEY: VALUE"},
		{"no yaml", "a: [\n", "config "},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		a := &app{getenv: os.Getenv}
		c := a.daemonCmd()
		var f daemonFlags
		c.ResetFlags()
		f.bind(c)
		if err := c.Flags().Parse([]string{"--config", path, "--log-level", "warn"}); err != nil {
			t.Fatal(err)
		}
		err := f.load(c)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, expected %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if f.LogLevel != "warn" {
			t.Errorf("%s: log level %q, the flag must win", tt.name, f.LogLevel)
		}
		if tt.name == "all" && (f.Host != "unix:///a.sock" || f.DataDir != "/a" || f.LogFormat != "json" || f.Workers != 3 || f.offload != tap.TSO ||
			len(f.pools) != 1 || f.pools[0].Size != 24) {
			t.Errorf("all: %+v", f)
		}
		if tt.name == "empty" && f.LogFormat != "text" {
			t.Errorf("empty: %+v, the defaults must stay", f)
		}
	}
}

// A relative --data-dir is the command line's, also beside a config file.
func TestDaemonConfigRelative(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.yaml")
	for _, text := range []string{"workers: 1\n", "data-dir: /elsewhere\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := (&app{}).daemonCmd()
		var f daemonFlags
		c.ResetFlags()
		f.bind(c)
		if err := c.Flags().Parse([]string{"--config", path, "--data-dir", "here"}); err != nil {
			t.Fatal(err)
		}
		if err := f.load(c); err != nil || f.DataDir != "here" {
			t.Errorf("%q: data-dir %q, %v", text, f.DataDir, err)
		}
	}
}
