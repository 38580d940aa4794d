package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/cnm"
)

// lookup is what runs inside: it asks the sandbox's own name server.
func lookup(name, kind string) error {
	r := net.Resolver{PreferGo: true}
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
	defer cancel()
	var got []string
	var err error
	switch kind {
	case "PTR":
		got, err = r.LookupAddr(ctx, name)
	default:
		var addrs []netip.Addr
		addrs, err = r.LookupNetIP(ctx, map[string]string{"A": "ip4", "AAAA": "ip6"}[kind], name)
		for _, a := range addrs {
			got = append(got, a.String())
		}
	}
	slices.Sort(got)
	fmt.Println(strings.Join(got, " "))
	return err
}

// lookups asks again and again, and says what is wrong.
func lookups(name string) {
	for last := ""; ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		got, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
		cancel()
		if now := fmt.Sprint(got); now != last || err != nil {
			fmt.Println(now, err)
			last = now
		}
	}
}

// serveName is what runs inside: a name server that knows one name.
func serveName(addr, name, value string) error {
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Name != name+"." {
			m.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(name + ". 60 IN A " + value)
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	})
	return (&dns.Server{Addr: addr, Net: "udp", Handler: h, NotifyStartedFunc: func() { fmt.Println("serving") }}).ListenAndServe()
}

// finds checks what a name is answered with inside; empty: it is not found.
func finds(t *testing.T, n *Node, from, name, kind, want string) {
	t.Helper()
	out, code := execute(t, n, from, "lookup", name, kind)
	first, _, _ := strings.Cut(out, "\n")
	if (want != "") != (code == 0) || want != "" && first != want {
		t.Errorf("%s asks for %s %s: exit %d, %q, want %q", from, name, kind, code, out, want)
	}
}

// alone is the configuration of a node whose host's name server refuses at once.
func alone(t *testing.T) Config {
	t.Helper()
	c := testConfig(t)
	c.ResolvConf = filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(c.ResolvConf, []byte("nameserver 127.0.0.77\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// Sandboxes on a network of the user's find each other by all their names, and those on
// other networks not.
func TestNamesInside(t *testing.T) {
	n := openNode(t, alone(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.60.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.67.61.0/24"), Internal: true})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Hostname: "thorn", Networks: []cnm.NetworkJoin{{Network: "front", Config: cnm.EndpointConfig{Aliases: []string{"www"}}}}})
	lily := mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: []cnm.NetworkJoin{
		{Network: "front", Config: cnm.EndpointConfig{Aliases: []string{"www"}, Links: []string{"rose:peer"}}}, {Network: "back"}}})
	mustRun(t, n, cnm.SandboxSpec{Name: "oak", Networks: on("back")})
	mustRun(t, n, cnm.SandboxSpec{Name: "moss"})
	at, back := addr4(rose, "front").String(), addr4(lily, "back").String()
	both := []string{at, addr4(lily, "front").String()}
	slices.Sort(both)
	for _, c := range []struct{ from, name, kind, want string }{
		{"lily", "rose", "A", at},
		{"lily", "ROSE", "A", at},
		{"lily", "rose.front", "A", at},
		{"lily", "www", "A", strings.Join(both, " ")},
		{"lily", "thorn.", "A", at},
		{"lily", "peer", "A", at},
		{"rose", "peer", "A", ""},
		{"lily", cnm.ShortID(rose.ID), "A", at},
		{"lily", at, "PTR", "rose.front."},
		{"lily", "rose", "AAAA", ""},
		{"lily", "moss", "A", ""}, // nobody on the default network has a name
		{"oak", "lily", "A", back},
		{"oak", "lily.front", "A", ""},
		{"oak", "rose", "A", ""},
		{"rose", "oak", "A", ""},
		{"rose", "lily.back", "A", ""},
	} {
		finds(t, n, c.from, c.name, c.kind, c.want)
	}
	if err := n.SandboxRename(t.Context(), "rose", "tulip"); err != nil {
		t.Fatal(err)
	}
	finds(t, n, "lily", "tulip", "A", at)
	finds(t, n, "lily", "rose", "A", "")
	mustConnect(t, n, "back", "tulip")
	finds(t, n, "oak", "tulip", "A", addr4(mustFind(t, n, "tulip"), "back").String())
	finds(t, n, "tulip", "oak", "A", addr4(mustFind(t, n, "oak"), "back").String())
	mustDisconnect(t, n, "back", "tulip")
	finds(t, n, "oak", "tulip", "A", "")
	finds(t, n, "tulip", "oak", "A", "")
	mustConnect(t, n, "front", "moss") // from the default network alone
	finds(t, n, "moss", "tulip", "A", at)
	if err := n.SandboxRemove(t.Context(), "tulip", true); err != nil {
		t.Fatal(err)
	}
	finds(t, n, "lily", "tulip", "A", "")
}

// What is not known is asked of --dns, from inside; of the host's servers, those on its
// loopback by the daemon; and of nobody where all networks are internal.
func TestNamesForwarded(t *testing.T) {
	c := alone(t)
	pc, err := net.ListenPacket("udp", "127.0.0.77:53")
	if err != nil {
		t.Skipf("port 53 cannot be had here, only what runs as root or in a namespace of its own has it: %v", err)
	}
	host := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.77")
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	})}
	go host.ActivateAndServe()
	defer host.Shutdown()
	n := openNode(t, c)
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.62.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.67.63.0/24"), Internal: true})
	server := mustRun(t, n, cnm.SandboxSpec{Name: "server", Networks: on("front", "back"), Expose: []string{"53/udp"}, Cmd: program("servename", "0.0.0.0:53", "far.example", "192.0.2.9")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front"), DNS: []netip.Addr{addr4(server, "front")}})
	mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "oak", Networks: on("back")})
	mustRun(t, n, cnm.SandboxSpec{Name: "elm", Networks: on("back"), DNS: []netip.Addr{addr4(server, "back")}})
	finds(t, n, "rose", "far.example", "A", "192.0.2.9")
	finds(t, n, "rose", "other.example", "A", "")
	finds(t, n, "lily", "far.example", "A", "192.0.2.77")
	finds(t, n, "oak", "far.example", "A", "")
	finds(t, n, "elm", "far.example", "A", "")
	finds(t, n, "elm", "server", "A", addr4(server, "back").String())
	for name, want := range map[string]string{"lily": "# ExtServers: [host(127.0.0.77)]\n", "rose": "# ExtServers: [" + addr4(server, "front").String() + "]\n", "oak": "ndots:0\n"} {
		if got, _ := execute(t, n, name, "print", "/etc/resolv.conf"); !strings.Contains(got, "nameserver 127.0.0.11\n") || !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, want %q at its end", name, got, want)
		}
	}
	mustConnect(t, n, "front", "oak")
	finds(t, n, "oak", "far.example", "A", "192.0.2.77")
}

// Who has port 53 of all addresses when it joins its first network with names keeps it,
// and the servers that it had.
func TestNamesPortTaken(t *testing.T) {
	n := openNode(t, alone(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.68.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("servename", "0.0.0.0:53", "far.example", "192.0.2.9")})
	inTime(t, "rose serves", func() bool { return strings.Contains(written(t, n, "rose"), "serving") })
	mustConnect(t, n, "front", "rose")
	if got, _ := execute(t, n, "rose", "print", "/etc/resolv.conf"); strings.Contains(got, "127.0.0.11") {
		t.Errorf("resolv.conf: %q", got)
	}
	mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: on("front")})
	finds(t, n, "lily", "rose", "A", addr4(mustFind(t, n, "rose"), "front").String())
	if err := n.SandboxRemove(t.Context(), rose.ID, true); err != nil {
		t.Fatal(err)
	}
}

// A daemon that comes after another answers on the same sockets, and what was asked
// while there was none.
func TestNamesRestart(t *testing.T) {
	watchLeaks(t)
	c := testConfig(t)
	n := openBeside(t, c)
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.67.64.0/24")})
	at := addr4(mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")}), "front").String()
	lily := mustRun(t, n, cnm.SandboxSpec{Name: "lily", Networks: on("front"), Cmd: program("lookups", "rose")})
	finds(t, n, "lily", "rose", "A", at)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	n = openBeside(t, c)
	finds(t, n, "lily", "rose", "A", at)
	// It has asked all the time, and nothing it asked failed.
	time.Sleep(200 * time.Millisecond)
	out := written(t, n, lily.ID)
	if strings.Contains(out, "lookup rose") || !strings.Contains(out, at) {
		t.Errorf("asked over the restart:\n%s", out)
	}
}

// written is what a sandbox has written.
func written(t *testing.T, n *Node, name string) string {
	t.Helper()
	r, err := n.SandboxLogs(t.Context(), name, LogOptions{Tail: -1, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		l, err := r.Next()
		if err != nil {
			return b.String()
		}
		b.Write(l.Text)
	}
}
