package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/capture"
)

// defaultSnaplen keeps every ordinary frame whole and superframes' headers, so
// that a capture does not cost more than the forwarding (docs/decisions/0003).
const defaultSnaplen = 2048

// captureFlags are the flags of `weft capture`.
type captureFlags struct {
	read, write, filter string
	before, after       bool
	snaplen, count      int
	duration            time.Duration
}

func (a *app) captureCmd() *cobra.Command {
	var f captureFlags
	c := &cobra.Command{
		Use:   "capture [FLAGS] [SANDBOX[:ethN]|NETWORK|NETWORK@PEER [EXPRESSION...]]",
		Short: "Record frames of any port or network, with drop reasons",
		Long: "Record frames as pcapng, before or after the switch, with direction and drop reason as packet comments, or\n" +
			"show them as text. NETWORK@PEER is an overlay's tunnel, NETWORK@uplink a network's way out; with no name at all,\n" +
			"every port is recorded. The expression is tcpdump's, as far as it goes, and `dropped [REASON]`. The capture never\n" +
			"slows the switch: what it cannot take is counted.",
		Example: "  weft capture rose\n  weft capture front -w - | wireshark -k -i -\n" +
			"  weft capture rose:eth1 -w out.pcapng tcp port 80 and not arp\n  weft capture -r out.pcapng dropped",
	}
	fl := c.Flags()
	fl.StringVarP(&f.read, "read", "r", "", "Show a capture FILE instead, - for stdin (all arguments are then the expression)")
	fl.StringVarP(&f.write, "write", "w", "", "Write pcapng to FILE, - for stdout")
	fl.StringVarP(&f.filter, "filter", "f", "", "Expression that frames must match")
	fl.BoolVar(&f.before, "before", false, "Only as frames enter the switch")
	fl.BoolVar(&f.after, "after", false, "Only as frames leave the switch")
	fl.IntVarP(&f.snaplen, "snaplen", "s", defaultSnaplen, "Bytes kept of each frame, 0 for all; superframes have up to 64 KiB")
	fl.IntVarP(&f.count, "count", "c", 0, "End after so many frames")
	fl.DurationVar(&f.duration, "duration", 0, "End after so long, such as 10s")
	c.RunE = func(c *cobra.Command, args []string) error {
		if f.read != "" {
			return a.readCapture(c, &f, args)
		}
		return a.capture(c, &f, args)
	}
	return c
}

// check refuses what contradicts itself, and takes the trailing expression.
func (f *captureFlags) check(c *cobra.Command, expr []string) error {
	if len(expr) > 0 {
		if f.filter != "" {
			return usagef(c, "--filter and a trailing expression (%s) exclude each other", strings.Join(expr, " "))
		}
		f.filter = strings.Join(expr, " ")
	}
	if _, err := capture.ParseFilter(f.filter); err != nil {
		return usagef(c, "%w", err)
	}
	switch {
	case f.snaplen < 0 || f.count < 0 || f.duration < 0:
		return usagef(c, "--snaplen, --count and --duration cannot be negative")
	case f.before && f.after:
		f.before, f.after = false, false // both is the default
	}
	return nil
}

func (a *app) capture(c *cobra.Command, f *captureFlags, args []string) error {
	target := ""
	if len(args) > 0 {
		target, args = args[0], args[1:]
	}
	if err := f.check(c, args); err != nil {
		return err
	}
	if f.write == "-" && isTerminal(a.out) {
		return usagef(c, "-w - writes binary data: redirect it, as in weft capture -w - | tshark -r -")
	}
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	o := api.CaptureOptions{Before: f.before, After: f.after, Filter: f.filter, Snaplen: f.snaplen}
	if o.Port, o.Network, err = a.captureTarget(c.Context(), cl, target); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	body, err := cl.Capture(ctx, o)
	if err != nil {
		return err
	}
	defer body.Close()
	sink, err := a.captureSink(f)
	if err != nil {
		return err
	}
	a.listening(target)
	n, err := f.copy(ctx, newNGReader(body), sink)
	if closeErr := sink.close(); err == nil {
		err = closeErr
	}
	fmt.Fprintf(a.err, "%d frame%s captured\n", n, plural(n))
	if ended := ctx.Err() != nil || (f.count > 0 && n >= f.count); !ended && (err == nil || unreachable(err)) {
		return goneError("but no frame moves, and none can be captured, until one runs again")
	}
	return err
}

// listening says on a terminal what is waited for, as tcpdump does: a quiet
// network shows nothing.
func (a *app) listening(target string) {
	if target == "" {
		target = "every port"
	}
	if isTerminal(a.err) {
		fmt.Fprintf(a.err, "capturing on %s, ctrl-c to end\n", target)
	}
}

// copy passes blocks to the sink until the stream, the context or the count
// ends it.
func (f *captureFlags) copy(ctx context.Context, r *ngReader, sink captureSink) (n int, err error) {
	for f.count == 0 || n < f.count {
		b, err := r.next()
		if err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return n, nil
			}
			return n, err
		}
		if b.isPacket() {
			n++
		}
		if err := sink.put(r, b); err != nil {
			return n, err
		}
	}
	return n, nil
}

// A captureSink takes a capture's blocks.
type captureSink struct {
	put   func(*ngReader, ngBlock) error
	close func() error
}

// captureSink opens what the flags ask for: text, or a file.
func (a *app) captureSink(f *captureFlags) (captureSink, error) {
	switch f.write {
	case "":
		return captureSink{put: a.printBlock, close: func() error { return nil }}, nil
	case "-":
		return rawSink(a.out, func() error { return nil }), nil
	}
	file, err := os.Create(f.write)
	if err != nil {
		return captureSink{}, err
	}
	return rawSink(file, file.Close), nil
}

func rawSink(w io.Writer, closeFile func() error) captureSink {
	return captureSink{
		put: func(_ *ngReader, b ngBlock) error {
			_, err := w.Write(b.raw)
			return err
		},
		close: closeFile,
	}
}
