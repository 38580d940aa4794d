package discovery

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
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
	return Endpoint{Network: "n", ID: fmt.Sprint("e", i), Names: []string{fmt.Sprint("c", i), fmt.Sprint("shared", i/10), fmt.Sprintf("%012x", i), fmt.Sprint("h", i)},
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}}
}

// BenchmarkMemory answers questions for addresses from memory, as the socket's
// goroutine does, among 20,000 endpoints.
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

// BenchmarkLatency asks 20,000 questions a second, half of what is to be reached, and
// reports what 99 of 100 took at most.
func BenchmarkLatency(b *testing.B) {
	tb := big(b, 20000)
	v := tb.NewView(ViewConfig{Networks: on("n")})
	s, addr := serve(b, ServerConfig{View: v.ForAll})
	defer s.Close()
	c, err := net.Dial("udp", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const rate, total = 20000, 60000
	for b.Loop() {
		sent, took := make([]atomic.Int64, total), make([]time.Duration, 0, total)
		start := time.Now()
		go func() {
			msg := packed(b, ask("c77.", dns.TypeA))
			for i := range total {
				for time.Since(start) < time.Duration(i)*time.Second/rate {
					time.Sleep(50 * time.Microsecond)
				}
				binary.BigEndian.PutUint16(msg, uint16(i))
				sent[i].Store(int64(time.Since(start)))
				c.Write(msg)
			}
		}()
		in := make([]byte, 512)
		for len(took) < total {
			c.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := c.Read(in); err != nil {
				break
			}
			now := time.Since(start)
			took = append(took, now-time.Duration(sent[binary.BigEndian.Uint16(in)].Load()))
		}
		slices.Sort(took)
		b.ReportMetric(100-100*float64(len(took))/total, "%lost")
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	}
}

// BenchmarkBatch fills a table with 20,000 endpoints by one update each.
func BenchmarkBatch(b *testing.B) {
	for b.Loop() {
		start := time.Now()
		big(b, 20000)
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms")
	}
}
