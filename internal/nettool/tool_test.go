package nettool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startServer runs `serve` on the loopback until the test ends.
func startServer(t *testing.T) (addr string, log *buffer) {
	t.Helper()
	return start(t, "serve", "127.0.0.1:0")
}

// start runs a tool that serves until the test ends.
func start(t *testing.T, args ...string) (addr string, log *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log = new(buffer)
	code := make(chan int, 1)
	go func() { code <- Main(ctx, args, log, log) }()
	t.Cleanup(func() {
		cancel()
		if c := <-code; c != 0 {
			t.Errorf("%s ended with %d: %s", args[0], c, log)
		}
	})
	for range 500 {
		if _, a, ok := strings.Cut(log.String(), "serving on "); ok && strings.Contains(a, "\n") {
			return strings.TrimSpace(strings.SplitN(a, "\n", 2)[0]), log
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no server: %s", log)
	return "", nil
}

func TestSend(t *testing.T) {
	addr, log := startServer(t)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"verified", []string{"send", "-m", "5", addr}, "5 MB"},
		{"fast", []string{"send", "-fast", "-m", "7", addr}, "7 MB"},
		{"streams", []string{"send", "-P", "3", "-m", "6", addr}, "6 MB"},
		{"nothing", []string{"send", "-m", "0", addr}, "0 MB"},
		{"blast", []string{"blast", "-t", "50ms", "-s", "100", addr}, "received"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := Main(context.Background(), c.args, &out, &errs); code != 0 || !strings.Contains(out.String(), c.want) {
				t.Fatalf("exit %d: %s%s%s", code, &out, &errs, log)
			}
		})
	}
}

// TestSendDamaged puts a byte right in the middle wrong.
func TestSendDamaged(t *testing.T) {
	near, far := net.Pipe()
	wire, end := net.Pipe()
	go func() {
		defer wire.Close()
		buf, at := make([]byte, 4096), 0
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			if at < 100000 && at+n >= 100000 {
				buf[0] ^= 1
			}
			at += n
			_, _ = wire.Write(buf[:n])
		}
	}()
	go io.Copy(far, wire)
	s := &server{out: io.Discard}
	go s.serve(end)
	_, err := Send(near, 1<<20, true)
	_ = near.Close()
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("%v, want %v", err, ErrCorrupt)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, c := range []struct{ name, say, want string }{
		{"stranger", "GET / HTTP/1.0\r\n\r\n", "not a request"},
		{"unknown mode", "weftx00012345678", "not a request"},
		{"cut short", "wef", "unexpected EOF"},
		{"less than announced", string(request(modeHash, 100)) + "abc", "after 3 of 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() { _, _ = near.Write([]byte(c.say)); _ = near.Close() }()
			err := (&server{out: io.Discard}).serve(far)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		line, want string
	}{
		{"", "a tool's name is missing"}, {"nmap", `there is no tool "nmap"`}, {"ping", "ping: 0 arguments, expected 1 to 1"},
		{"ping -s 70000 ::1", "-s from 0 to 65000"}, {"ping -c -1 ::1", "-c and -i not below 0"}, {"ping -z ::1", "-z"},
		{"ping -W 5 ::1", `"5" for flag -W: expected a number, of a time with its unit, such as 10s`}, {"ping ::1 -c 1", "-c: flags come before"},
		{"send a b", "send: 2 arguments"}, {"send -m -5 a", `"-5" for flag -m`}, {"send -P 0 a", "-P from 1 to 128"},
		{"blast -s 1 a", "-s from 8"}, {"fetch 192.0.2.1", "expected a URL such as http://192.0.2.1:8000/"},
		{"fetch https://192.0.2.1/", "expected a URL"}, {"fetch -W 0s http://192.0.2.1/", "-W above 0"}, {"web :80 a b", "web: 3 arguments"}, {"forge 1.2.3.4", "forge: 1 arguments, expected 2 to 2"},
	} {
		var errs bytes.Buffer
		code := Main(context.Background(), strings.Fields(c.line), io.Discard, &errs)
		said, rest, _ := strings.Cut(errs.String(), "\n")
		if code != 2 || !strings.HasPrefix(said, "weft tool: wrong command line: ") || !strings.Contains(said, c.want) || !strings.HasPrefix(rest, "usage:") {
			t.Errorf("%q: exit %d, %s", c.line, code, &errs)
		}
	}
	for _, line := range []string{"--help", "help", "ping --help", "serve -h"} {
		var out, errs bytes.Buffer
		if code := Main(context.Background(), strings.Fields(line), &out, &errs); code != 0 || !strings.HasPrefix(out.String(), "usage:") || errs.Len() > 0 {
			t.Errorf("%q: exit %d, %s%s", line, code, &out, &errs)
		}
	}
	var errs bytes.Buffer
	if code := Main(context.Background(), []string{"forge", "::1", "1.2.3.4"}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "IPv4") {
		t.Errorf("forge: exit %d, %s", code, &errs)
	}
}

func TestForgedEcho(t *testing.T) {
	b := ForgedEcho(netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("10.0.0.2"), 7)
	p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if ip == nil || icmp == nil || ip.SrcIP.String() != "10.9.9.9" || icmp.Seq != 7 || icmp.TypeCode.Type() != 8 {
		t.Fatalf("%v", p)
	}
	if checksum(b[:20]) != 0 || checksum(b[20:]) != 0 {
		t.Fatal("checksums")
	}
}

func TestEchoReply(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		if id, seq, ok := ParseEchoReply(v6, Echo(v6, true, 3, 4, 5)); !ok || id != 3 || seq != 4 {
			t.Errorf("v6 %v: %d %d %v", v6, id, seq, ok)
		}
		for _, b := range [][]byte{Echo(v6, false, 3, 4, 5), Echo(!v6, true, 3, 4, 5), Echo(v6, true, 3, 4, 5)[:7]} {
			if _, _, ok := ParseEchoReply(v6, b); ok {
				t.Errorf("v6 %v: %x taken", v6, b)
			}
		}
	}
}

// FuzzServe: whatever a client says, and whatever it goes on to say, it is served
// or cut off.
func FuzzServe(f *testing.F) {
	f.Add(request(modeHash, 4))
	f.Add(request(modeUDP, 4))
	f.Add(append(request(modeUDP, 4), "more than was announced"...))
	f.Add(append(request(modeCount, 2), 1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, near)
		go func() { _, _ = near.Write(b); _ = near.Close() }()
		_ = (&server{out: io.Discard}).serve(far)
		_ = far.Close()
	})
}

// mute is a socket that nobody answers, closed when ctx ends.
type mute struct {
	net.PacketConn
	ctx context.Context
}

func (mute) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (mute) SetReadDeadline(time.Time) error           { return nil }
func (mute) Close() error                              { return nil }

func (m mute) ReadFrom([]byte) (int, net.Addr, error) {
	if m.ctx.Err() != nil {
		return 0, nil, net.ErrClosed
	}
	return 0, nil, os.ErrDeadlineExceeded
}

// TestPingCountsPastItsSequenceNumbers: these are 16 bits, a count is not.
func TestPingCountsPastItsSequenceNumbers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	const count = 1<<16 + 5
	r, err := PingOver(ctx, mute{ctx: ctx}, &net.IPAddr{}, PingOptions{To: netip.MustParseAddr("192.0.2.1"), Count: count}, io.Discard)
	if err != nil || r.Sent != count {
		t.Errorf("%d sent, %v; want %d", r.Sent, err, count)
	}
}
