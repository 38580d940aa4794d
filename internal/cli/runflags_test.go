package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

// parseRun parses a command line of weft run as far as the API's request.
func parseRun(t *testing.T, caller []string, line ...string) (client.ContainerCreateOptions, error) {
	t.Helper()
	var f runFlags
	var o client.ContainerCreateOptions
	c := &cobra.Command{Use: "run", Args: minArgs(1, "COMMAND"), SilenceErrors: true, SilenceUsage: true}
	f.bind(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := f.check(c); err != nil {
			return err
		}
		if err := f.directories(); err != nil {
			return err
		}
		var err error
		o, err = f.createOptions(args, caller)
		return err
	}
	c.SetArgs(line)
	return o, c.Execute()
}

func TestRunRequest(t *testing.T) {
	o, err := parseRun(t, []string{"PATH=/bin", "HOSTNAME=outer", "A=1"},
		"-d", "--rm", "--name", "rose", "-h", "inner", "--domainname", "d", "--network", "front,ip=10.0.0.9", "--network", "back",
		"--network-alias", "r", "--mac-address", "02:42:0a:00:00:09", "--dns", "1.1.1.1", "--dns-search", "x", "--dns-option", "ndots:1",
		"--add-host", "h:10.0.0.1", "--sysctl", "net.ipv4.ip_forward=1", "-e", "A=2", "-e", "B=3", "-l", "k=v", "-w", "/tmp",
		"--stop-signal", "INT", "--stop-timeout", "3", "--link", "tulip:t", "--expose", "80", "--expose", "5000-5002/udp", "--", "sleep", "-x", "3")
	if err != nil {
		t.Fatal(err)
	}
	front := o.NetworkingConfig.EndpointsConfig["front"]
	for what, ok := range map[string]bool{
		"name": o.Name == "rose", "host name": o.Config.Hostname == "inner", "domain": o.Config.Domainname == "d",
		"command": slices.Equal(o.Config.Cmd, []string{"sleep", "-x", "3"}),
		"env":     slices.Equal(o.Config.Env, []string{"PATH=/bin", "A=2", "HOSTNAME=inner", "B=3"}),
		"dir":     o.Config.WorkingDir == "/tmp", "rm": o.HostConfig.AutoRemove, "not attached": !o.Config.AttachStdout,
		"mode": o.HostConfig.NetworkMode == "front", "order": o.Config.Labels[api.LabelNetworks] == "front,back",
		"label": o.Config.Labels["k"] == "v", "alias": slices.Equal(front.Aliases, []string{"r"}), "link": slices.Equal(front.Links, []string{"tulip:t"}),
		"exposed": len(o.Config.ExposedPorts) == 4 && slices.Contains(slices.Collect(maps.Keys(o.Config.ExposedPorts)), network.MustParsePort("5002/udp")),
		"ip":      front.IPAMConfig.IPv4Address.String() == "10.0.0.9", "mac": front.MacAddress.String() == "02:42:0a:00:00:09",
		"back": o.NetworkingConfig.EndpointsConfig["back"] != nil, "stop": o.Config.StopSignal == "INT" && *o.Config.StopTimeout == 3,
		"sysctl": o.HostConfig.Sysctls["net.ipv4.ip_forward"] == "1", "hosts": slices.Equal(o.HostConfig.ExtraHosts, []string{"h:10.0.0.1"}),
		"dns": o.HostConfig.DNS[0].String() == "1.1.1.1" && o.HostConfig.DNSSearch[0] == "x" && o.HostConfig.DNSOptions[0] == "ndots:1",
	} {
		if !ok {
			t.Errorf("%s is wrong: %+v %+v", what, o.Config, o.HostConfig)
		}
	}
}

func TestRunPorts(t *testing.T) {
	o, err := parseRun(t, nil, "-p", "127.0.0.1:8080-8081:80-81", "-p", "[::1]:8080:80", "-p", "53/udp", "-p", "published=9000-9009,target=90",
		"-P", "--expose", "80", "--expose", "443", "x")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(o.HostConfig.PortBindings)
	want := `{"53/udp":[{"HostIp":"","HostPort":""}],"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"},{"HostIp":"::1","HostPort":"8080"}],` +
		`"81/tcp":[{"HostIp":"127.0.0.1","HostPort":"8081"}],"90/tcp":[{"HostIp":"","HostPort":"9000-9009"}]}`
	if string(got) != want || err != nil {
		t.Errorf("bindings %s, %v\nwant     %s", got, err, want)
	}
	if got, _ := json.Marshal(o.Config.ExposedPorts); string(got) != `{"443/tcp":{},"53/udp":{},"80/tcp":{},"81/tcp":{},"90/tcp":{}}` || !o.HostConfig.PublishAllPorts {
		t.Errorf("exposed %s, all published %v", got, o.HostConfig.PublishAllPorts)
	}
}

func TestRunRootfs(t *testing.T) {
	dir := t.TempDir()
	o, err := parseRun(t, []string{"SECRET=1"}, "--rootfs", dir, "-it", "sh")
	if err != nil {
		t.Fatal(err)
	}
	if o.Config.Labels[api.LabelRootfs] != dir || o.Config.WorkingDir != "/" {
		t.Errorf("rootfs %q, working directory %q", o.Config.Labels[api.LabelRootfs], o.Config.WorkingDir)
	}
	if want := []string{defaultPath, "HOME=/root", "TERM=xterm"}; !slices.Equal(o.Config.Env, want) {
		t.Errorf("environment %q, want %q: the caller's does not belong into another root", o.Config.Env, want)
	}
	if !o.Config.Tty || !o.Config.OpenStdin || !o.Config.AttachStdin {
		t.Errorf("-it not in %+v", o.Config)
	}
}

func TestRunRefusals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, line, err string }{
		{"no command", "--rm", "needs at least 1"},
		{"publish", "-p 80:web x", "-p 80:web: invalid containerPort: web"},
		{"publish sctp", "-p 80/sctp x", "-p 80/sctp: sctp is not carried"},
		{"publish an address", "-p ::1]:80:80 x", "invalid IP address: ::1]"},
		{"expose", "--expose 80:80 x", "invalid port format for --expose: 80:80"},
		{"expose nothing", "--expose 0 x", "expected ports from 1 to 65535"},
		{"expose a protocol", "--expose 80/icmp x", "invalid proto: icmp"},
		{"link", "--link rose: x", "expected SANDBOX:ALIAS"},
		{"link on none", "--network none --link rose:r x", "no interface"},
		{"service", "--service web x", "services are not there yet"},
		{"two ips", "--network front,ip=10.0.0.9 --ip 10.0.0.8 x", "exclude each other"},
		{"two macs", "--network front,mac=02:42:0a:00:00:09 --mac-address 02:42:0a:00:00:08 x", "exclude each other"},
		{"none and more", "--network none --network front x", "excludes every other"},
		{"address on none", "--network none --ip 10.0.0.9 x", "no interface"},
		{"container mode", "--network container:rose x", "weft exec"},
		{"add-host", "--add-host nope x", "expected NAME:IP"},
		{"add-host ip", "--add-host h:999 x", "not an IP address"},
		{"dns", "--dns nope x", "not an IP address"},
		{"detach keys", "--detach-keys ctrl-? x", "detach keys"},
		{"detach and keys", "-d --detach-keys a x", "exclude each other"},
		{"sysctl", "--sysctl net.ipv4.ip_forward x", "not KEY=VALUE"},
		{"rootfs missing", "--rootfs /nonexistent x", "no such file"},
		{"rootfs a file", "--rootfs " + file + " x", "not a directory"},
		{"env", "-e =x x", "name is missing"},
		{"env file", "--env-file /nonexistent x", "env file"},
		{"timeout", "--stop-timeout -2 x", "expected seconds"},
		{"unknown flag", "--privileged x", "unknown flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseRun(t, nil, strings.Fields(tt.line)...)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, expected one with %q", err, tt.err)
			}
		})
	}
}

func TestRunDefaults(t *testing.T) {
	o, err := parseRun(t, nil, "x")
	if err != nil {
		t.Fatal(err)
	}
	wd, _ := os.Getwd()
	if o.Config.WorkingDir != wd || o.HostConfig.NetworkMode != "" || o.NetworkingConfig != nil || !o.Config.AttachStdout {
		t.Errorf("got %+v %+v", o.Config, o.HostConfig)
	}
	// A flag about "the network" without one is about the default network.
	if o, err = parseRun(t, nil, "--network-alias", "a", "x"); err != nil || o.HostConfig.NetworkMode != "bridge" {
		t.Errorf("network %q, %v", o.HostConfig.NetworkMode, err)
	}
	if o, err = parseRun(t, nil, "--network", "host", "x"); err != nil || o.HostConfig.NetworkMode != "host" || o.NetworkingConfig != nil {
		t.Errorf("network %q %v, %v", o.HostConfig.NetworkMode, o.NetworkingConfig, err)
	}
}

func TestEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("\xef\xbb\xbf# comment\n\nF=1\n  G=two words\nA=file\nFROMCALLER\nNOTTHERE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lookup := func(k string) (string, bool) { return "caller", k == "FROMCALLER" }
	got, err := environment([]string{"A=base", "Z=1"}, []string{file}, []string{"Z=2", "FROMCALLER", "NOTTHERE", "E="}, lookup)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=file", "Z=2", "F=1", "G=two words", "FROMCALLER=caller", "E="}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.WriteFile(file, []byte("two words=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := environment(nil, []string{file}, nil, lookup); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a blank in a name: %v", err)
	}
}
