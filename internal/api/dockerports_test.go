package api

import (
	"slices"
	"strings"
	"testing"
)

// What Docker's own command sends, and makes of the answers.
func TestDockerPorts(t *testing.T) {
	eachDocker(t, func(d *docker, m *memory) {
		d.ok("run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", "-p", "[::1]:8080-8081:80-81", "-p", "5353:53/udp", "-p", "9000-9009:90",
			"--expose", "443", "--expose", "7000-7001/udp", "scratch", "sleep", "1000")
		b, err := m.Sandbox("web")
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		for _, p := range b.Spec.Mappings() {
			asked = append(asked, p.String())
		}
		if got, want := strings.Join(asked, " "), "5353:53/udp 127.0.0.1:8080:80/tcp [::1]:8080:80/tcp [::1]:8081:81/tcp 9000-9009:90/tcp"; got != want {
			d.t.Errorf("asked for %q, want %q", got, want)
		}
		d.ports("53/udp -> 0.0.0.0:5353, 53/udp -> :::5353, 80/tcp -> 127.0.0.1:8080, 80/tcp -> ::1:8080, 81/tcp -> ::1:8081, 90/tcp -> 0.0.0.0:9000, 90/tcp -> :::9000", "web")
		d.ports("127.0.0.1:8080, ::1:8080", "web", "80")
		d.ports("0.0.0.0:5353, :::5353", "web", "53/udp")
		d.fails(1, "No public port '53/tcp' published for web", "port", "web", "53/tcp")
		d.fails(1, "published for web", "port", "web", "443")
		d.want("127.0.0.1 ::1", "inspect", "-f", `{{range index .NetworkSettings.Ports "80/tcp"}}{{.HostIp}} {{end}}`, "web")
		d.want("8080", "inspect", "-f", `{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}`, "web")
		d.want(`null "9000-9009"`, "inspect", "-f", `{{json (index .NetworkSettings.Ports "443/tcp")}} {{range index .HostConfig.PortBindings "90/tcp"}}{{json .HostPort}}{{end}}`, "web")
		d.want("map[443/tcp:{} 53/udp:{} 7000/udp:{} 7001/udp:{} 80/tcp:{} 81/tcp:{} 90/tcp:{}]", "inspect", "-f", "{{.Config.ExposedPorts}}", "web")
		if got, want := strings.NewReplacer("[", "", "]", "").Replace(d.ok("ps", "--format", "{{.Ports}}")), "443/tcp, 7000-7001/udp, 0.0.0.0:5353->53/udp, :::5353->53/udp, "+
			"127.0.0.1:8080->80/tcp, ::1:8080->80/tcp, ::1:8081->81/tcp, 0.0.0.0:9000->90/tcp, :::9000->90/tcp"; got != want {
			d.t.Errorf("ps prints\n%s\nwant\n%s", got, want)
		}
		d.want("web", "ps", "-f", "publish=5353/udp", "--format", "{{.Names}}")
		d.want("web", "ps", "-f", "expose=440-450", "--format", "{{.Names}}")
		d.want("", "ps", "-f", "publish=53/udp", "--format", "{{.Names}}")
		d.fails(1, "should not contain ':'", "ps", "-f", "publish=1:2")

		d.ok("run", "-d", "--name", "all", "-P", "--expose", "80", "--expose", "53/udp", "scratch", "sleep", "1000")
		d.ports("53/udp -> 0.0.0.0:32768, 53/udp -> :::32768, 80/tcp -> 0.0.0.0:32769, 80/tcp -> :::32769", "all")
		d.want("true map[]", "inspect", "-f", "{{.HostConfig.PublishAllPorts}} {{.HostConfig.PortBindings}}", "all")

		d.ok("run", "-d", "--name", "long", "-p", "published=8443,target=443", "scratch", "sleep", "1000")
		d.ports("443/tcp -> 0.0.0.0:8443, 443/tcp -> :::8443", "long")

		_, errs, code := d.run("run", "-d", "--name", "host", "--network", "host", "-p", "80:80", "scratch", "sleep", "1000")
		if code != 0 || !strings.Contains(errs, "WARNING: Published ports are discarded when using host network mode") {
			d.t.Errorf("in network mode host: %d %s", code, errs)
		}
		d.ports("", "host")
		d.ok("stop", "-t", "0", "web")
		d.ports("", "web")
		d.fails(125, "sctp is not carried", "run", "-p", "80/sctp", "scratch", "true")
		d.fails(125, "cannot both be published on host port 8080/tcp", "run", "-p", "8080:80", "-p", "8080:81", "scratch", "true")
	})
}

// ports runs docker port, which must print these lines. 20.10 has no order, and no
// brackets around IPv6 addresses.
func (d *docker) ports(want string, args ...string) {
	d.t.Helper()
	got := strings.Split(strings.NewReplacer("[", "", "]", "").Replace(d.ok(append([]string{"port"}, args...)...)), "\n")
	slices.Sort(got)
	if s := strings.Join(got, ", "); s != want {
		d.t.Errorf("docker port %v prints\n%s\nwant\n%s", args, s, want)
	}
}
