package cnm

import (
	"errors"
	"strings"
	"testing"
)

func TestParsePublish(t *testing.T) {
	for _, c := range []struct{ name, in, want, err string }{
		{"port", "80", "80/tcp", ""},
		{"udp", "53/udp", "53/udp", ""},
		{"upper case", "53/UDP", "53/udp", ""},
		{"host port", "8080:80", "8080:80/tcp", ""},
		{"host port 0", "0:80", "80/tcp", ""},
		{"empty host port", ":80", "80/tcp", ""},
		{"address", "127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp", ""},
		{"address, any port", "127.0.0.1::80/udp", "127.0.0.1::80/udp", ""},
		{"address, port 0", "127.0.0.1:0:80", "127.0.0.1::80/tcp", ""},
		{"no address", "::80", "80/tcp", ""},
		{"IPv6", "[::1]:8080:80", "[::1]:8080:80/tcp", ""},
		{"IPv6, any port", "[fd00::5]::80", "[fd00::5]::80/tcp", ""},
		{"IPv6 all", "[::]:8080:80", "[::]:8080:80/tcp", ""},
		{"IPv6 without brackets", "fd00::5:8080:80", "[fd00::5]:8080:80/tcp", ""},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1:2", "10.0.0.1:1:2/tcp", ""},
		{"pairs", "8080-8082:80-82", "8080:80/tcp 8081:81/tcp 8082:82/tcp", ""},
		{"pairs on an address", "[::1]:8080-8081:80-81/udp", "[::1]:8080:80/udp [::1]:8081:81/udp", ""},
		{"range of any", "80-81", "80/tcp 81/tcp", ""},
		{"range to choose from", "8000-8010:80", "8000-8010:80/tcp", ""},
		{"range of one", "8000-8000:80-80", "8000:80/tcp", ""},
		{"highest", "65534-65535:65534-65535", "65534:65534/tcp 65535:65535/tcp", ""},
		{"long", "published=8080,target=80", "8080:80/tcp", ""},
		{"long, all of it", "target=53,published=5353,protocol=udp,mode=host,ip=127.0.0.1", "127.0.0.1:5353:53/udp", ""},
		{"long, IPv6", "target=53,host_ip=[::1]", "[::1]::53/tcp", ""},
		{"long, mode of the mesh", "target=53,mode=ingress", "53/tcp", ""},
		{"long, ranges", "published=8080-8081,target=80-81", "8080:80/tcp 8081:81/tcp", ""},

		{"empty", "", "", "no port specified: <empty>"},
		{"no port", "8080:", "", "no port specified: 8080:<empty>"},
		{"only a protocol", "/udp", "", "no port specified: /udp<empty>"},
		{"port 0", "8080:0", "", "invalid containerPort: 0"},
		{"port from 0", "0-1", "", "invalid containerPort: 0-1"},
		{"port too high", "8080:65536", "", "invalid containerPort: 65536"},
		{"huge", "8080:99999999999999999999999", "", "invalid containerPort: 99999999999999999999999"},
		{"not a number", "web", "", "invalid containerPort: web"},
		{"signed", "+80", "", "invalid containerPort: +80"},
		{"open range", "80-", "", "invalid containerPort: 80-"},
		{"backwards", "81-80", "", "invalid containerPort: 81-80"},
		{"host port too high", "65536:80", "", "invalid hostPort: 65536"},
		{"host no number", "web:80", "", "invalid hostPort: web"},
		{"host backwards", "9-8:80", "", "invalid hostPort: 9-8"},
		{"host range from 0", "0-5:80", "", "invalid hostPort: 0-5"},
		{"address without host port", "127.0.0.1:80", "", "invalid hostPort: 127.0.0.1"},
		{"unequal ranges", "8080-8081:80-82", "", "invalid ranges specified for container and host Ports: 80-82 and 8080-8081"},
		{"one for several", "8080:80-81", "", "invalid ranges specified for container and host Ports: 80-81 and 8080"},
		{"zero for several", "0:80-81", "", "invalid ranges specified for container and host Ports: 80-81 and 0"},
		{"sctp", "80/sctp", "", "sctp is not carried"},
		{"protocol", "80/icmp", "", "invalid proto: icmp"},
		{"bad address", "10.0.0:8080:80", "", "invalid IP address: 10.0.0"},
		{"name", "localhost:8080:80", "", "invalid IP address: localhost"},
		{"zone", "[fe80::1%eth0]:8080:80", "", "invalid IP address: fe80::1%eth0"},
		{"brackets open", "[::1:8080:80", "", "expected [IP]:[HOST_PORT]:PORT"},
		{"brackets without host port", "[::1]:80", "", "expected [IP]:[HOST_PORT]:PORT"},
		{"empty brackets", "[]:8080:80", "", "expected [IP]:[HOST_PORT]:PORT"},
		{"long without target", "published=8080", "", "target= is missing"},
		{"long, unknown", "target=80,colour=red", "", "invalid publish field colour"},
		{"long, no value", "target=80,udp", "", "should be name=value but got 'udp'"},
		{"long, mode", "target=80,mode=bridge", "", "invalid publish mode bridge"},
		{"long, proto", "target=80,protocol=sctp", "", "sctp is not carried"},
		{"long, quotes", `target="80`, "", "invalid publish opts format"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ms, err := ParsePublish(c.in)
			wantErr(t, err, c.err)
			if got := mappingWords(ms); got != c.want {
				t.Errorf("%q is %q, want %q", c.in, got, c.want)
			}
		})
	}
	if _, err := ParsePublish("80/sctp"); !errors.Is(err, Unsupported) {
		t.Errorf("sctp: %v is of no use to who wants to know why", err)
	}
}

func mappingWords(ms []PortMapping) string {
	var w []string
	for _, m := range ms {
		w = append(w, m.String())
	}
	return strings.Join(w, " ")
}

func TestParseExpose(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"80", "80/tcp", ""},
		{"53/UDP", "53/udp", ""},
		{"8000-8002/udp", "8000/udp 8001/udp 8002/udp", ""},
		{"65535", "65535/tcp", ""},
		{"9/sctp", "9/sctp", ""}, // a note, no more
		{"", "", "invalid range format for --expose: , error: invalid start port '': value is empty"},
		{"80:80", "", "invalid port format for --expose: 80:80"},
		{"0", "", "expected ports from 1 to 65535"},
		{"65536", "", "invalid start port '65536': value out of range"},
		{"80-x", "", "invalid end port 'x': invalid syntax"},
		{"2-1", "", "invalid port range: 2-1"},
		{"80/icmp", "", "invalid proto: icmp"},
	} {
		got, err := ParseExpose(c.in)
		wantErr(t, err, c.err)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q is %q, want %q", c.in, got, c.want)
		}
	}
	if all, err := ParseExpose("1-65535"); len(all) != 65535 || err != nil {
		t.Errorf("all ports are %d, %v", len(all), err)
	}
}

// What was understood is written so that it is understood again.
func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{
		"80", "8080:80/udp", "127.0.0.1:8000-8001:80-81", "[::1]:1-9:80", "::80", "[fe80::1%x]:1:2", "1:2:3:4",
		"published=1,target=2,protocol=udp,mode=host,ip=::1", `target="1"`, "65535-65535:65535", "0-0:1", "[::ffff:1.2.3.4]::1", "80/sctp",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, err := ParsePublish(s)
		var e *Error
		if err != nil && (!errors.As(err, &e) || len(ms) > 0) || err == nil && len(ms) == 0 {
			t.Fatalf("%q: %v, %v", s, ms, err)
		}
		for i, m := range ms {
			if i > 50 && i < len(ms)-1 {
				continue // one is like the other
			}
			if err := m.validate(); err != nil {
				t.Fatalf("%q: %s: %v", s, m, err)
			}
			again, err := ParsePublish(m.String())
			if err != nil || len(again) != 1 || again[0] != m {
				t.Fatalf("%q: %s comes back as %v, %v", s, m, again, err)
			}
		}
	})
}
