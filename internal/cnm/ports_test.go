package cnm

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// published are the mappings of several values of --publish.
func published(t *testing.T, specs ...string) (all []PortMapping) {
	t.Helper()
	for _, s := range specs {
		ms, err := ParsePublish(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ms...)
	}
	return all
}

func TestValidatePorts(t *testing.T) {
	for _, c := range []struct {
		name   string
		ports  []string
		expose []string
		all    bool
		err    string
	}{
		{"nothing", nil, nil, false, ""},
		{"several", []string{"8080:80", "8080:80/udp", "8081:80"}, []string{"80/tcp"}, false, ""},
		{"the same twice", []string{"8080:80", "8080:80/tcp"}, nil, false, ""},
		{"any port twice", []string{"80", "80", "81"}, nil, false, ""},
		{"two on one", []string{"8080:80", "8080:81"}, nil, false, "ports 80 and 81 cannot both be published on host port 8080/tcp: 8080:80/tcp and 8080:81/tcp"},
		{"two on one address", []string{"[::1]:8080:80", "[::1]:8080:81"}, nil, false, "ports 80 and 81 cannot both"},
		{"two addresses", []string{"127.0.0.1:8080:80", "127.0.0.2:8080:81"}, nil, false, ""},
		{"all and one address", []string{"0.0.0.0:8080:81", "127.0.0.1:8080:80"}, nil, false, "ports 80 and 81 cannot both"},
		{"one address and all", []string{"127.0.0.1:8080:81", "0.0.0.0:8080:90"}, nil, false, "ports 81 and 90 cannot both"},
		{"one port on all and on one address", []string{"0.0.0.0:8080:80", "127.0.0.1:8080:80"}, nil, false, "host port 8080/tcp is given twice: 0.0.0.0:8080:80/tcp and 127.0.0.1:8080:80/tcp"},
		{"all of the other family", []string{"0.0.0.0:8080:80", "[::]:8080:81", "[::]:8080:80/udp"}, nil, false, ""},
		{"where the network says, and an address", []string{"8080:80", "127.0.0.1:8080:81"}, nil, false, ""},
		{"ranges may overlap", []string{"8000-8010:80", "8000-8010:81", "8000:82"}, nil, false, ""},
		{"expose", nil, []string{"80/tcp", "http"}, false, "invalid start port 'http'"},
		{"expose of the API", nil, []string{"80/icmp"}, false, "invalid proto: icmp"},
		{"sctp exposed", nil, []string{"80/sctp"}, false, ""},
		{"sctp published", nil, []string{"80/sctp"}, true, "cannot publish all exposed ports: sctp is not carried"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := SandboxSpec{Cmd: []string{"x"}, Ports: published(t, c.ports...), Expose: c.expose, PublishAll: c.all}
			wantErr(t, ValidatePorts(s), c.err)
			wantErr(t, ValidateSandbox(s), c.err)
		})
	}
	for _, c := range []struct {
		m   PortMapping
		err string
	}{
		{PortMapping{Proto: "tcp", Port: 0}, `invalid port specification: "0/tcp"`},
		{PortMapping{Proto: "TCP", Port: 1}, "invalid proto: TCP"},
		{PortMapping{Port: 1}, "invalid proto: "},
		{PortMapping{Proto: "sctp", Port: 1}, "sctp is not carried"},
		{PortMapping{Proto: "tcp", Port: 1, HostPortEnd: 5}, "invalid port range: 0-5"},
		{PortMapping{Proto: "tcp", Port: 1, HostPort: 6, HostPortEnd: 5}, "invalid port range: 6-5"},
		{PortMapping{Proto: "tcp", Port: 1, HostIP: netip.MustParseAddr("fe80::1%eth0")}, "invalid IP address: fe80::1%eth0"},
	} {
		wantErr(t, ValidatePorts(SandboxSpec{Ports: []PortMapping{c.m}}), c.err)
	}
	err := ValidatePorts(SandboxSpec{Expose: []string{"80/sctp"}, PublishAll: true})
	if !errors.Is(err, Unsupported) {
		t.Errorf("sctp: %v is of no use to who wants to know why", err)
	}
}

// A client that names a port of the host with very many addresses has an answer soon.
func TestValidateManyPorts(t *testing.T) {
	var s SandboxSpec
	for i := range 60000 {
		ip := netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})
		s.Ports = append(s.Ports, PortMapping{Proto: "tcp", Port: 80, HostIP: ip, HostPort: 8080})
	}
	start := time.Now()
	wantErr(t, ValidatePorts(s), "")
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestMappings(t *testing.T) {
	for _, c := range []struct {
		name string
		spec SandboxSpec
		want string
	}{
		{"none", SandboxSpec{}, ""},
		{"exposed only", SandboxSpec{Expose: []string{"80/tcp"}}, ""},
		{"sorted, once each", SandboxSpec{Ports: published(t, "80/udp", "8000-8009:80", "9:90", "80", "10:80/udp", "127.0.0.1:10:80", "[::1]:10:80", "9:90")},
			"127.0.0.1:10:80/tcp [::1]:10:80/tcp 10:80/udp 9:90/tcp 8000-8009:80/tcp 80/tcp 80/udp"},
		{"all exposed", SandboxSpec{Expose: []string{"90/tcp", "80/tcp", "80-81/udp", "80/TCP"}, PublishAll: true}, "80/tcp 80/udp 81/udp 90/tcp"},
		{"all exposed but those asked for", SandboxSpec{Expose: []string{"80/tcp", "80/udp"}, Ports: published(t, "8080:80"), PublishAll: true}, "8080:80/tcp 80/udp"},
		{"network mode none", SandboxSpec{NetworkMode: "none", Ports: published(t, "8080:80"), PublishAll: true}, ""},
		{"network mode host", SandboxSpec{NetworkMode: "host", Ports: published(t, "8080:80"), PublishAll: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := mappingWords(c.spec.Ports)
			if got := mappingWords(c.spec.Mappings()); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := mappingWords(c.spec.Ports); got != before {
				t.Errorf("what was asked for became %q", got)
			}
		})
	}
}

func TestComparePublished(t *testing.T) {
	at := func(port uint16, proto, host string) PublishedPort {
		return PublishedPort{Proto: proto, Port: port, Host: netip.MustParseAddrPort(host)}
	}
	want := []PublishedPort{at(80, "tcp", "0.0.0.0:9"), at(80, "tcp", "0.0.0.0:10"), at(80, "tcp", "[::]:9"), at(80, "udp", "0.0.0.0:1"), at(81, "tcp", "0.0.0.0:1")}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, ComparePublished)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}
