package nettool

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

func sendTool(ctx context.Context, fs *flag.FlagSet, args []string, out io.Writer) error {
	mb := fs.Uint64("m", 256, "")
	fast := fs.Bool("fast", false, "")
	streams := fs.Int("P", 1, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return err
	}
	if *streams < 1 || *streams > 128 || *mb > 1<<30 {
		return wrong("send: expected -P from 1 to 128, -m up to %d", 1<<30)
	}
	addr := withPort(fs.Arg(0))
	dial := func() (net.Conn, error) { return dialPatiently(ctx, "tcp", addr) }
	t, err := SendStreams(ctx, dial, *streams, *mb<<20, !*fast)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "sent", t.String())
	return nil
}

// SendStreams sends n bytes over as many connections at a time, sharing them
// out, and returns the whole.
func SendStreams(ctx context.Context, dial func() (net.Conn, error), streams int, n uint64, verify bool) (Transfer, error) {
	conns := make([]net.Conn, streams)
	for i := range conns {
		c, err := dial()
		if err != nil {
			return Transfer{}, err
		}
		defer c.Close()
		defer closeWith(ctx, c)()
		conns[i] = c
	}
	parts, errs := make([]Transfer, streams), make([]error, streams)
	start := time.Now()
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { parts[i], errs[i] = Send(c, n/uint64(streams), verify) })
	}
	wg.Wait()
	whole := Transfer{Took: time.Since(start), Sum: parts[0].Sum}
	for _, p := range parts {
		whole.Bytes += p.Bytes
	}
	return whole, errors.Join(errs...)
}

func blastTool(ctx context.Context, fs *flag.FlagSet, args []string, out io.Writer) error {
	size := fs.Int("s", 1400, "")
	long := fs.Duration("t", 2*time.Second, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return err
	}
	if *size < 8 || *size > 65000 {
		return wrong("blast: expected -s from 8 to 65000")
	}
	addr := withPort(fs.Arg(0))
	udp, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer udp.Close()
	data := pattern()[:*size]
	session := uint64(time.Now().UnixNano())
	binary.BigEndian.PutUint64(data, session)
	sent, start := 0, time.Now()
	for time.Since(start) < *long && ctx.Err() == nil {
		for range 64 { // a clock read per datagram would count too
			if _, err := udp.Write(data); err == nil {
				sent++
			}
		}
	}
	took := time.Since(start).Seconds()
	time.Sleep(100 * time.Millisecond) // for what is under way
	a, err := askUDP(ctx, addr, session)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "sent %d datagrams of %d bytes in %.2f s, received %d (%.1f%%): %.0f/s, %.2f Gbit/s\n", sent, *size, took,
		a.Datagrams, 100*float64(a.Datagrams)/float64(max(sent, 1)), float64(a.Datagrams)/took, float64(a.Bytes)*8/took/1e9)
	if a.Datagrams == 0 {
		return errSilent
	}
	return nil
}

// askUDP asks the server over TCP what a session brought.
func askUDP(ctx context.Context, addr string, session uint64) (Answer, error) {
	c, err := dialPatiently(ctx, "tcp", addr)
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(idle))
	if _, err := c.Write(request(modeUDP, session)); err != nil {
		return Answer{}, err
	}
	return readAnswer(c)
}
