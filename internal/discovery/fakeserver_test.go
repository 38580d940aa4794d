package discovery

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

func plainDial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// zoneData is what a fakeServer knows: "name. TYPE" → value.
type zoneData map[string]string

// A fakeServer is a server to forward to, as good or bad as a test wants it. What it
// sends for a query is up to answer: messages, in order.
type fakeServer struct {
	addr   netip.AddrPort
	udp    net.PacketConn
	tcp    net.Listener
	answer func(q *dns.Msg, tcp bool) [][]byte
	wg     sync.WaitGroup

	mu    sync.Mutex
	seen  []*dns.Msg
	ports map[string]bool // that it was asked from
	conns []net.Conn
}

func newFakeServer(t testing.TB, data zoneData) *fakeServer {
	f := &fakeServer{ports: map[string]bool{}}
	f.answer = func(q *dns.Msg, tcp bool) [][]byte { return [][]byte{packed(t, data.answer(q))} }
	for range 20 {
		var err error
		if f.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if f.tcp, err = net.Listen("tcp", f.udp.LocalAddr().String()); err == nil {
			break
		}
		f.udp.Close()
	}
	f.addr = f.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	f.wg.Go(f.datagrams)
	f.wg.Go(f.streams)
	t.Cleanup(f.close)
	return f
}

func (f *fakeServer) close() {
	f.udp.Close()
	f.tcp.Close()
	f.mu.Lock()
	for _, c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

func (f *fakeServer) datagrams() {
	b := make([]byte, 65535)
	for {
		n, from, err := f.udp.ReadFrom(b)
		if err != nil {
			return
		}
		for _, a := range f.take(b[:n], from.String(), false) {
			f.udp.WriteTo(a, from)
		}
	}
}

func (f *fakeServer) streams() {
	for {
		c, err := f.tcp.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns = append(f.conns, c)
		f.mu.Unlock()
		f.wg.Go(func() {
			defer c.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				b := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				for _, a := range f.take(b, c.RemoteAddr().String(), true) {
					c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
				}
			}
		})
	}
}

func (f *fakeServer) take(b []byte, from string, tcp bool) [][]byte {
	q := new(dns.Msg)
	if q.Unpack(b) != nil {
		return nil
	}
	f.mu.Lock()
	f.seen = append(f.seen, q)
	f.ports[from] = true
	answer := f.answer
	f.mu.Unlock()
	return answer(q, tcp)
}

func (f *fakeServer) set(answer func(q *dns.Msg, tcp bool) [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// asked returns how often a name was asked for.
func (f *fakeServer) asked(name string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.seen {
		if strings.EqualFold(q.Question[0].Name, name) {
			n++
		}
	}
	return n
}

func (f *fakeServer) queries() []*dns.Msg {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*dns.Msg(nil), f.seen...)
}

// answer makes an honest one: an SOA record with what is not there.
func (d zoneData) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(1232, o.Do())
	}
	m.RecursionAvailable = true
	name, kind := strings.ToLower(q.Question[0].Name), dns.TypeToString[q.Question[0].Qtype]
	known := false
	for k, v := range d {
		n, typ, _ := strings.Cut(k, " ")
		if n != name {
			continue
		}
		known = true
		if typ == kind {
			m.Answer = append(m.Answer, record(n+" 300 IN "+typ+" "+v))
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, record(". 100 IN SOA a. b. 1 2 3 4 60"))
	}
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	return m
}

func record(s string) dns.RR {
	rr, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return rr
}
