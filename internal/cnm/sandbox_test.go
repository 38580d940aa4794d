package cnm

import (
	"net/netip"
	"testing"
	"time"
)

func TestValidateSandbox(t *testing.T) {
	type S = []string
	join := func(names ...string) (js []NetworkJoin) {
		for _, n := range names {
			js = append(js, NetworkJoin{Network: n})
		}
		return js
	}
	for _, c := range []struct {
		name string
		mod  func(*SandboxSpec)
		want string
	}{
		{"plain", func(s *SandboxSpec) {}, ""},
		{"bad name", func(s *SandboxSpec) { s.Name = "/x" }, "Invalid container name (/x)"},
		{"no command", func(s *SandboxSpec) { s.Cmd = nil }, "no command specified"},
		{"env", func(s *SandboxSpec) { s.Env = S{"A=b", "=x"} }, `invalid environment variable: "=x"`},
		{"dir", func(s *SandboxSpec) { s.Dir = "tmp" }, "the working directory 'tmp' is invalid, it needs to be an absolute path"},
		{"rootfs", func(s *SandboxSpec) { s.Rootfs = "tmp" }, "absolute path"},
		{"signal", func(s *SandboxSpec) { s.StopSignal = "SIGFOO" }, "invalid signal: SIGFOO"},
		{"timeout", func(s *SandboxSpec) { s.StopTimeout = -time.Second }, "invalid stop timeout"},
		{"hostname", func(s *SandboxSpec) { s.Hostname = "a b" }, "invalid hostname format: a b"},
		{"domainname", func(s *SandboxSpec) { s.Domainname = "-" }, "invalid domainname format: -"},
		{"extra host", func(s *SandboxSpec) { s.ExtraHosts = S{"db:10.0.0.1", "h:host-gateway", "six:fd00::1"} }, ""},
		{"bad extra host", func(s *SandboxSpec) { s.ExtraHosts = S{"db"} }, `bad format for add-host: "db"`},
		{"bad extra host ip", func(s *SandboxSpec) { s.ExtraHosts = S{"db:1.2"} }, `invalid IP address in add-host: "1.2"`},
		{"dns", func(s *SandboxSpec) { s.DNS = []netip.Addr{{}} }, "IP address is not correctly formatted"},
		{"search", func(s *SandboxSpec) { s.DNSSearch = S{"a..b"} }, "a..b is not a valid domain"},
		{"search none", func(s *SandboxSpec) { s.DNSSearch = S{"."} }, ""},
		{"dns option", func(s *SandboxSpec) { s.DNSOptions = S{"a\nb"} }, "invalid DNS option"},
		{"sysctl", func(s *SandboxSpec) { s.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "1"} }, ""},
		{"one sysctl twice", func(s *SandboxSpec) {
			s.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}
		}, "sysctl net/ipv4/ip_forward is given twice, also as net.ipv4.ip_forward"},
		{"host sysctl", func(s *SandboxSpec) { s.Sysctls = map[string]string{"kernel.panic": "1"} }, "sysctl 'kernel.panic' is not allowed"},
		{"sysctl in host mode", func(s *SandboxSpec) {
			s.NetworkMode, s.Sysctls = "host", map[string]string{"net.ipv4.ip_forward": "1"}
		}, "not allowed in host network namespace"},
		{"networks", func(s *SandboxSpec) { s.Networks = join("a", "b") }, ""},
		{"network twice", func(s *SandboxSpec) { s.Networks = join("a", "a") }, `network "a" is specified multiple times`},
		{"network empty", func(s *SandboxSpec) { s.Networks = join("") }, "the name is empty"},
		{"none and more", func(s *SandboxSpec) { s.NetworkMode, s.Networks = "none", join("a") }, "private (none) mode"},
		{"host and more", func(s *SandboxSpec) { s.NetworkMode, s.Networks = "host", join("a") }, "cannot be connected to any other network"},
		{"host by network", func(s *SandboxSpec) { s.Networks = join("a", "host") }, "cannot attach both"},
		{"none", func(s *SandboxSpec) { s.NetworkMode, s.Networks = "none", join("none") }, ""},
		{"container mode", func(s *SandboxSpec) { s.NetworkMode = "container:x" }, `network mode "container:x" is not supported`},
		{"foreign", func(s *SandboxSpec) { s.Cmd, s.Foreign = nil, &Foreign{PID: 9} }, ""},
		{"foreign both", func(s *SandboxSpec) { s.Cmd, s.Foreign = nil, &Foreign{PID: 9, NetNS: "/x"} }, "exactly one of --pid and --netns"},
		{"foreign neither", func(s *SandboxSpec) { s.Cmd, s.Foreign = nil, &Foreign{} }, "exactly one of --pid and --netns"},
		{"foreign relative", func(s *SandboxSpec) { s.Cmd, s.Foreign = nil, &Foreign{NetNS: "x"} }, "expected an absolute path"},
		{"foreign command", func(s *SandboxSpec) { s.Foreign = &Foreign{PID: 9} }, "no command can be started"},
		{"several", func(s *SandboxSpec) { s.Cmd, s.Dir = nil, "x" }, "invalid sandbox:\n* no command specified\n* the working"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := SandboxSpec{Cmd: []string{"true"}}
			c.mod(&s)
			wantErr(t, ValidateSandbox(s), c.want)
		})
	}
}

func TestSysctl(t *testing.T) {
	for _, c := range []struct{ name, in, path, want string }{
		{"dots", "net.ipv4.ip_forward=1", "net/ipv4/ip_forward", ""},
		{"slashes", "net/ipv4/conf/eth0.5/forwarding=1", "net/ipv4/conf/eth0.5/forwarding", ""},
		{"dots with slash", "net.ipv4.conf.eth0/5.forwarding=1", "net/ipv4/conf/eth0.5/forwarding", ""},
		{"value with equals", "net.a=b=c", "net/a", ""},
		{"mqueue", "fs.mqueue.msg_max=1", "fs/mqueue/msg_max", ""},
		{"no value", "net.ipv4.ip_forward", "", "expected KEY=VALUE"},
		{"not namespaced", "vm.swappiness=1", "", "not in a separate kernel namespace"},
		{"hostname is set otherwise", "kernel.hostname=x", "", "use --domainname and --hostname"},
		{"so is the domain", "kernel.domainname=x", "", "use --domainname and --hostname"},
		{"parent", "net/../kernel/panic=1", "", "bad name"},
		{"parent in dots", "net...kernel=1", "", "bad name"},
		{"absolute", "/net/x=1", "", "bad name"},
		{"empty", "=1", "", "not in a separate kernel namespace"},
		{"space", "net.a b=1", "", "bad name"},
		{"two lines", "net.a=1\n2", "", "several lines"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, _, err := ParseSysctl(c.in)
			wantErr(t, err, c.want)
			if err == nil && SysctlPath(k) != c.path {
				t.Fatalf("path %s, want %s", SysctlPath(k), c.path)
			}
		})
	}
}

func TestParseSignal(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{"TERM", 15}, {"SIGTERM", 15}, {"sigkill", 9}, {"9", 9}, {"64", 64}, {"SIGSYS", 31}, {"IOT", 6},
		{"RTMIN", 34}, {"SIGRTMIN+3", 37}, {"RTMAX-1", 63}, {"RTMAX", 64},
		{"", 0}, {"0", 0}, {"65", 0}, {"-1", 0}, {"SIG", 0}, {"FOO", 0}, {"RTMIN+31", 0}, {"RTMIN-1", 0}, {"RTMIN3", 0}, {"RTMAX+1", 0},
	} {
		t.Run(c.in, func(t *testing.T) {
			n, err := ParseSignal(c.in)
			if n != c.want || (err != nil) != (c.want == 0) {
				t.Fatalf("ParseSignal(%q) = %d, %v, want %d", c.in, n, err, c.want)
			}
		})
	}
}
