package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// big is a table with n endpoints of four names on a network.
func big(t testing.TB, n int) *Table {
	tb := NewTable(TableConfig{})
	update(t, tb, Network{ID: "n", Name: "front"})
	for i := range n {
		update(t, tb, bigEndpoint(i))
	}
	return tb
}

func bigEndpoint(i int) Endpoint {
	return Endpoint{Network: "n", ID: fmt.Sprint("e", i), Names: ContainerNames(fmt.Sprint("c", i), []string{fmt.Sprint("shared", i/10)}, fmt.Sprintf("%012x", i), fmt.Sprint("h", i)),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}}
}

// BenchmarkMemory answers questions for addresses from memory, as the socket's goroutine
// does, among 20,000 endpoints.
func BenchmarkMemory(b *testing.B) {
	tb := big(b, 20000)
	v := tb.NewView(ViewConfig{Networks: on("n"), Forwarder: NewForwarder(ForwarderConfig{})})
	s := NewServer(ServerConfig{View: v.ForAll})
	defer s.Close()
	for _, c := range []struct{ name, ask string }{{"own", "c%d."}, {"qualified", "c%d.front."}, {"shared10", "shared%d."}} {
		msgs := make([][]byte, 2000)
		for i := range msgs {
			msgs[i] = packed(b, ask(fmt.Sprintf(c.ask, i), dns.TypeA))
		}
		b.Run(c.name, func(b *testing.B) {
			tn := turn{out: make([]byte, maxUDP)}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if a, _ := s.respond(&tn, v, netip.Addr{}, msgs[i%len(msgs)], false); len(a) < 34 {
					b.Fatal("no answer")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
	b.Run("library", func(b *testing.B) { // what does not go the short way: SRV, with a cookie
		m := ask("c5.", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}}
		msg, tn := packed(b, m), turn{out: make([]byte, maxUDP)}
		for b.Loop() {
			s.respond(&tn, v, netip.Addr{}, msg, false)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
	})
}

// BenchmarkUpdate changes one endpoint among many.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{1000, 20000} {
		tb := big(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := bigEndpoint(i % n)
				e.State = State(1 + i/n%2)
				update(b, tb, e)
			}
		})
	}
}

// BenchmarkSocket asks a server on loopback, one question at a time (its own share of the time
// included), and with dnsperf where it is installed.
func BenchmarkSocket(b *testing.B) {
	tb := big(b, 20000)
	v := tb.NewView(ViewConfig{Networks: on("n")})
	s, addr := serve(b, ServerConfig{View: v.ForAll})
	defer s.Close()
	b.Run("roundtrip", func(b *testing.B) {
		c, err := net.Dial("udp", addr.String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		msg, in := packed(b, ask("c77.", dns.TypeA)), make([]byte, 512)
		for b.Loop() {
			c.Write(msg)
			if _, err := c.Read(in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("dnsperf", func(b *testing.B) {
		if _, err := exec.LookPath("dnsperf"); err != nil {
			b.Skip("dnsperf is not installed")
		}
		for b.Loop() {
			rate, lost := dnsperf(b, addr)
			b.ReportMetric(rate, "queries/s")
			b.ReportMetric(lost, "%lost")
		}
	})
}

// dnsperf measures for some seconds and returns the queries per second and what was lost in
// per cent.
func dnsperf(b *testing.B, addr netip.AddrPort, more ...string) (rate, lost float64) {
	var text strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&text, "c%d A\n", i*7)
	}
	file := filepath.Join(b.TempDir(), "queries")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	args := append([]string{"-s", addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "-d", file, "-l", "3", "-c", "4", "-T", "1", "-q", "200", "-t", "2"}, more...)
	out, err := exec.Command("dnsperf", args...).CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, f := range []struct {
		re *regexp.Regexp
		to *float64
	}{{regexp.MustCompile(`Queries per second:\s+([\d.]+)`), &rate}, {regexp.MustCompile(`Queries lost:\s+\d+ \(([\d.]+)%\)`), &lost}} {
		m := f.re.FindSubmatch(out)
		if m == nil {
			b.Fatalf("dnsperf: %s", out)
		}
		fmt.Sscan(string(m[1]), f.to)
	}
	b.Log(string(out))
	return rate, lost
}

// BenchmarkBatch fills a table with 20,000 endpoints by one update each.
func BenchmarkBatch(b *testing.B) {
	for b.Loop() {
		start := time.Now()
		big(b, 20000)
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms")
	}
}
