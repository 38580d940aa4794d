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
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkSocket asks a server on loopback, one question at a time (its own share of
// the time included), and with dnsperf where it is installed.
func BenchmarkSocket(b *testing.B) {
	tb := big(b, 20000)
	v := tb.NewView(ViewConfig{Networks: on("n")})
	stats := &Stats{}
	s, addr := serve(b, ServerConfig{View: v.ForAll, Stats: stats})
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
			before, asked := processor(b), stats.Get(QueriesUDP)
			rate, lost := dnsperf(b, addr)
			used, n := processor(b)-before, stats.Get(QueriesUDP)-asked
			b.ReportMetric(rate, "queries/s")
			b.ReportMetric(lost, "%lost")
			// What one processor would do that had nothing else to do.
			b.ReportMetric(float64(n)/used.Seconds(), "queries/cpu-s")
		}
	})
}

// dnsperf measures for some seconds and returns the queries per second and what was
// lost in per cent.
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
	return rate, lost
}

// processor is the processor's time that this process has used, without its children's.
func processor(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
