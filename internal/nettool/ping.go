package nettool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"time"
)

// PingOptions say how to ping. The zero value of Count means until ctx ends.
type PingOptions struct {
	To       netip.Addr
	Name     string        // shown beside the address
	Count    int           // requests
	Interval time.Duration // between them
	Timeout  time.Duration // for the last answer
	Size     int           // payload bytes
}

// A PingResult counts requests and answers.
type PingResult struct {
	Sent, Received int
	RTTs           []time.Duration // of the answers, in their order
}

func pingTool(ctx context.Context, fs *flag.FlagSet, args []string, out io.Writer) error {
	var o PingOptions
	fs.IntVar(&o.Count, "c", 0, "")
	fs.DurationVar(&o.Interval, "i", time.Second, "")
	fs.DurationVar(&o.Timeout, "W", time.Second, "")
	fs.IntVar(&o.Size, "s", 56, "")
	v4, v6 := fs.Bool("4", false, ""), fs.Bool("6", false, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return err
	}
	if o.Size < 0 || o.Size > 65000 || o.Count < 0 || o.Interval < 0 {
		return wrong("ping: expected -s from 0 to 65000, -c and -i not below 0")
	}
	network := "ip"
	if *v4 {
		network = "ip4"
	} else if *v6 {
		network = "ip6"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, fs.Arg(0))
	if err != nil {
		return err
	}
	o.Name, o.To = fs.Arg(0), addrs[0].Unmap()
	r, err := Ping(ctx, o, out)
	if err == nil && r.Received == 0 {
		return errSilent
	}
	return err
}

// Ping sends ICMP echo requests through a raw socket and prints as ping does.
func Ping(ctx context.Context, o PingOptions, out io.Writer) (PingResult, error) {
	network, local := "ip4:icmp", "0.0.0.0"
	if o.To.Is6() {
		network, local = "ip6:ipv6-icmp", "::"
	}
	conn, err := net.ListenPacket(network, local)
	if err != nil {
		return PingResult{}, fmt.Errorf("raw socket (needs CAP_NET_RAW, which processes in a sandbox have): %w", err)
	}
	defer conn.Close()
	id := newID()
	p := pinger{conn: conn, dst: &net.IPAddr{IP: o.To.AsSlice(), Zone: o.To.Zone()}, o: o, out: out, id: id, mine: func(got uint16) bool { return got == id }}
	return p.run(ctx)
}

// PingOver is Ping through a socket that sets and checks the identifier itself,
// as ping sockets and those of a userspace stack do.
func PingOver(ctx context.Context, conn net.PacketConn, dst net.Addr, o PingOptions, out io.Writer) (PingResult, error) {
	p := pinger{conn: conn, dst: dst, o: o, out: out, mine: func(uint16) bool { return true }}
	return p.run(ctx)
}

// run pings and prints the summary.
func (p *pinger) run(ctx context.Context) (PingResult, error) {
	defer closeWith(ctx, p.conn)()
	p.at = map[uint16]time.Time{}
	fmt.Fprintf(p.out, "PING %s (%s) %d(%d) bytes of data.\n", p.o.Name, p.o.To, p.o.Size, p.o.Size+28)
	start := time.Now()
	if err := p.loop(ctx); err != nil {
		return p.res, err
	}
	p.summary(time.Since(start))
	return p.res, nil
}

func newID() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint16(b[:])
}

type pinger struct {
	conn net.PacketConn
	dst  net.Addr
	o    PingOptions
	out  io.Writer
	id   uint16
	mine func(id uint16) bool
	at   map[uint16]time.Time // when a request without answer was sent
	res  PingResult
}

// loop sends a request per interval and takes answers in between.
func (p *pinger) loop(ctx context.Context) error {
	buf := make([]byte, 65536)
	for seq := uint16(1); p.o.Count == 0 || p.res.Sent < p.o.Count; seq++ {
		b := Echo(p.o.To.Is6(), false, p.id, seq, p.o.Size)
		p.at[seq] = time.Now()
		delete(p.at, seq-1024) // lost: the memory is bounded
		if _, err := p.conn.WriteTo(b, p.dst); err != nil {
			fmt.Fprintf(p.out, "icmp_seq=%d: %v\n", seq, err)
		}
		p.res.Sent++
		wait := p.o.Interval
		last := p.res.Sent == p.o.Count
		if last {
			wait = p.o.Timeout
		}
		for until := time.Now().Add(wait); ; {
			if last && p.res.Received == p.res.Sent {
				return nil
			}
			_ = p.conn.SetReadDeadline(until)
			n, _, err := p.conn.ReadFrom(buf)
			var late net.Error // of the host's stack or of a userspace one
			if errors.As(err, &late) && late.Timeout() {
				break
			}
			if err != nil {
				if ctx.Err() != nil {
					return nil // stopped: show what there is
				}
				return fmt.Errorf("receive: %w", err)
			}
			p.take(buf[:n])
		}
	}
	return nil
}

// take notes an answer to one of our requests.
func (p *pinger) take(b []byte) {
	id, seq, ok := ParseEchoReply(p.o.To.Is6(), b)
	sent, waiting := p.at[seq]
	if !ok || !p.mine(id) || !waiting {
		return
	}
	delete(p.at, seq)
	rtt := time.Since(sent)
	p.res.Received++
	p.res.RTTs = append(p.res.RTTs, rtt)
	fmt.Fprintf(p.out, "%d bytes from %s: icmp_seq=%d time=%.3f ms\n", len(b), p.o.To, seq, ms(rtt))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (p *pinger) summary(total time.Duration) {
	r := &p.res
	loss := 0.0
	if r.Sent > 0 {
		loss = 100 * float64(r.Sent-r.Received) / float64(r.Sent)
	}
	fmt.Fprintf(p.out, "\n--- %s ping statistics ---\n%d packets transmitted, %d received, %.4g%% packet loss, time %.0fms\n",
		p.o.Name, r.Sent, r.Received, loss, ms(total))
	if r.Received == 0 {
		return
	}
	lo, hi, sum, squares := math.Inf(1), 0.0, 0.0, 0.0
	for _, d := range r.RTTs {
		v := ms(d)
		lo, hi, sum, squares = min(lo, v), max(hi, v), sum+v, squares+v*v
	}
	n := float64(r.Received)
	dev := math.Sqrt(max(0, squares/n-sum/n*sum/n))
	fmt.Fprintf(p.out, "rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", lo, sum/n, hi, dev)
}
