package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/nettest"
)

// dig runs dig against a server and returns what it printed.
func dig(t *testing.T, addr netip.AddrPort, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("dig"); err != nil {
		nettest.Skip(t, "dig is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	all := append([]string{"@" + addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "+tries=1", "+time=5"}, args...)
	out, err := exec.CommandContext(ctx, "dig", all...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestDig has a client that is not ours ask a server on loopback, over UDP and TCP.
func TestDig(t *testing.T) {
	nettest.CheckLeaks(t)
	tb := world(t)
	many(t, tb, "front", 100)
	up := newFakeServer(t, zoneData{"example.org. A": "192.0.2.80", "example.org. TXT": `"far away"`})
	f := NewForwarder(ForwarderConfig{Servers: []Upstream{{Addr: up.addr}}, Dial: plainDial})
	v := tb.NewView(ViewConfig{Networks: on("front"), Forwarder: f})
	stats := &Stats{}
	s, addr := serve(t, ServerConfig{View: v.ForAll, Stats: stats})
	for _, c := range []struct {
		rule string
		args []string
		want []string // each somewhere in the output
		not  string
	}{
		{"A", []string{"rose", "A"}, []string{"status: NOERROR", "flags: qr aa rd ra;", "rose.\t\t\t5\tIN\tA\t10.0.1.2"}, "WARNING"},
		{"TTL is 5 s", []string{"rose.front"}, []string{"rose.front.\t\t5\tIN\tA\t10.0.1.2"}, ""},
		{"AAAA", []string{"rose", "AAAA"}, []string{"IN\tAAAA\tfd00:1::2"}, ""},
		{"NOERROR, empty", []string{"lily", "AAAA"}, []string{"status: NOERROR", "ANSWER: 0"}, ""},
		{"no EDNS", []string{"+noedns", "rose"}, []string{"10.0.1.2", "ADDITIONAL: 0"}, "OPT PSEUDO"},
		{"EDNS", []string{"+nocookie", "+dnssec", "rose"}, []string{"10.0.1.2", "EDNS: version: 0, flags: do; udp: 4096"}, ""},
		{"EDNS of another version", []string{"+edns=1", "+noednsneg", "rose"}, []string{"status: BADVERS"}, "10.0.1.2"},
		{"case of the question stays", []string{"RoSe"}, []string{"RoSe.\t\t\t5\tIN\tA\t10.0.1.2"}, ""},
		{"PTR", []string{"-x", "10.0.1.2"}, []string{"PTR\tRose.front."}, ""},
		{"PTR, IPv6", []string{"-x", "fd00:1::2"}, []string{"IN PTR Rose.front."}, ""},
		{"SRV with addresses", []string{"_http._tcp.rose", "SRV"}, []string{"SRV\t0 0 80 Rose.front.", "Rose.front.\t\t5\tIN\tA\t10.0.1.2", "AAAA\tfd00:1::2"}, ""},
		{"MX", []string{"rose", "MX"}, []string{"status: NOERROR", "ANSWER: 0"}, ""},
		{"TCP", []string{"+tcp", "rose"}, []string{"10.0.1.2", "(TCP)"}, ""},
		{"truncated", []string{"+ignore", "+noedns", "m100"}, []string{"qr aa tc rd ra", "ANSWER: 30,"}, ""},
		{"truncated at the size of EDNS", []string{"+ignore", "+nocookie", "+bufsize=1232", "m100"}, []string{"qr aa tc rd ra", "ANSWER: 74,"}, ""},
		{"truncated, again over TCP", []string{"+noedns", "m100"}, []string{"ANSWER: 100,", "(TCP)"}, ""},
		{"ANY (RFC 8482)", []string{"rose", "ANY"}, []string{`HINFO	"RFC8482" ""`, "ANSWER: 1,"}, "10.0.1.2"},
		{"another class", []string{"-c", "CH", "version.bind", "TXT"}, []string{"status: REFUSED"}, ""},
		{"another opcode", []string{"+opcode=NOTIFY", "rose"}, []string{"status: NOTIMP"}, ""},
		{"transfer", []string{"rose", "AXFR"}, []string{"Transfer failed."}, "10.0.1.2"},
		{"forwarded", []string{"example.org"}, []string{"status: NOERROR", "flags: qr rd ra;", "192.0.2.80"}, ""},
		{"forwarded, from the cache", []string{"example.org"}, []string{"status: NOERROR", "flags: qr rd ra;", "192.0.2.80"}, ""},
		{"forwarded over TCP", []string{"+tcp", "example.org", "TXT"}, []string{`TXT	"far away"`, "(TCP)"}, ""},
		{"forwarded, unknown there", []string{"nobody.example"}, []string{"status: NXDOMAIN"}, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			out := dig(t, addr, c.args...)
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("dig %v: no %q in\n%s", c.args, w, out)
				}
			}
			if c.not != "" && strings.Contains(out, c.not) || strings.Contains(out, "Warning") || strings.Contains(out, "malformed") {
				t.Errorf("dig %v:\n%s", c.args, out)
			}
		})
	}
	if n := up.asked("example.org."); n != 2 { // A once, TXT once
		t.Errorf("example.org was asked for %d times", n)
	}
	if stats.Get(QueriesTCP) == 0 || stats.Get(QueriesUDP) == 0 {
		t.Error("queries are not counted")
	}
	s.Close()
}

// TestDigTransfer has dig transfer the zone of a table.
func TestDigTransfer(t *testing.T) {
	nettest.CheckLeaks(t)
	tb := world(t)
	many(t, tb, "front", 1000) // several messages
	update(t, tb, Static{Network: "front", Name: "alias", Type: "CNAME", Values: []string{"rose"}}, Static{Name: "far", Type: "CNAME", Values: []string{"example.org"}},
		Static{Name: "*.apps", Type: "A", Values: []string{"192.0.2.7"}, TTL: 60e9}, Static{Network: "front", Name: "note", Type: "TXT", Values: []string{`say "hi" \ bye`}})
	z, err := NewZone(tb, "Weft", func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") })
	if err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, ServerConfig{Zone: z})
	lines := strings.Split(dig(t, addr, "+onesoa", "+noall", "+answer", "weft", "AXFR"), "\n")
	var got []string
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 4 && f[0][0] != ';' {
			got = append(got, strings.Join(f, " "))
		}
	}
	for _, want := range []string{
		"rose.front.weft. 5 IN A 10.0.1.2", "rose.front.weft. 5 IN AAAA fd00:1::2", "flower.front.weft. 5 IN A 10.0.1.3", "rose.back.net.weft. 5 IN A 10.0.2.2",
		"stack_web.front.weft. 5 IN A 10.0.1.100", "tasks.web.front.weft. 5 IN A 10.0.1.12", "_http._tcp.rose.front.weft. 5 IN SRV 0 0 80 rose.front.weft.",
		"alias.front.weft. 5 IN CNAME rose.front.weft.", "far.weft. 5 IN CNAME example.org.", "*.apps.weft. 60 IN A 192.0.2.7", "weft. 5 IN NS ns.weft.",
		`note.front.weft. 5 IN TXT "say \"hi\" \\ bye"`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("not transferred: %s", want)
		}
	}
	for _, g := range got {
		if strings.Contains(g, "10.0.1.31") && strings.HasPrefix(g, "none.front") || strings.Contains(g, "PTR") {
			t.Errorf("transferred: %s", g)
		}
	}
	if n := len(got); n < 2000 {
		t.Errorf("%d records", n)
	}
	for _, c := range []struct {
		rule, want string
		args       []string
	}{
		{"apex", "SOA\tns.weft. hostmaster.weft.", []string{"weft", "SOA"}},
		{"in the zone", "ROSE.front.weft.\t5\tIN\tA\t10.0.1.2", []string{"ROSE.front.weft"}},
		{"SRV", "SRV\t0 0 80 rose.front.weft.", []string{"_http._tcp.rose.front.weft", "SRV"}},
		{"wildcard", "a.apps.weft.\t\t60\tIN\tA\t192.0.2.7", []string{"a.apps.weft"}},
		{"alias", "CNAME\trose.front.weft.", []string{"alias.front.weft"}},
		{"not there", "status: NXDOMAIN", []string{"rose.weft"}},
		{"nothing of the type", "status: NOERROR", []string{"lily.front.weft", "AAAA"}},
		{"outside of it", "status: REFUSED", []string{"rose.front"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if out := dig(t, addr, c.args...); !strings.Contains(out, c.want) {
				t.Errorf("dig %v: no %q in\n%s", c.args, c.want, out)
			}
		})
	}
	t.Run("IXFR", func(t *testing.T) {
		if out := dig(t, addr, "weft", fmt.Sprint("IXFR=", tb.Serial())); strings.Contains(out, "rose") || !strings.Contains(out, "hostmaster") {
			t.Errorf("of who has it all:\n%s", out)
		}
		if out := dig(t, addr, "weft", fmt.Sprint("IXFR=", tb.Serial()-1)); !strings.Contains(out, "rose.front.weft.") {
			t.Errorf("of who has an older one:\n%s", out)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		z, err := NewZone(tb, "weft", func(netip.Addr) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		_, addr := serve(t, ServerConfig{Zone: z})
		for _, args := range [][]string{{"weft", "AXFR"}, {"weft", "SOA"}} {
			if out := dig(t, addr, args...); strings.Contains(out, "hostmaster") {
				t.Errorf("dig %v:\n%s", args, out)
			}
		}
	})
}
