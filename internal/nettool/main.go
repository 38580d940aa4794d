package nettool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"time"
)

const usage = `usage: weft tool ping  [-c COUNT] [-i INTERVAL] [-W TIMEOUT] [-s SIZE] [-4|-6] HOST
       weft tool serve [ADDRESS:PORT]                     (default :5201, TCP and UDP)
       weft tool send  [-m MEGABYTES] [-fast] [-P STREAMS] HOST[:PORT]
       weft tool blast [-s SIZE] [-t DURATION] HOST[:PORT]
       weft tool forge [-c COUNT] SOURCE DESTINATION      (ICMP echo from a source that is not ours)
       weft tool links                                    (interfaces and their addresses)`

// DefaultPort is where serve listens and send connects to.
const DefaultPort = "5201"

// Main runs one tool by its name in args[0] and returns the exit code: 0, 1 when
// what was asked for did not happen, 2 for a wrong command line. It ends early,
// with what it has, when ctx does.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := errUsage
	if len(args) > 0 {
		err = run(ctx, args[0], args[1:], stdout)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stderr, usage)
		return 2
	case errors.Is(err, errSilent):
		return 1
	}
	fmt.Fprintln(stderr, "weft tool:", err)
	return 1
}

var (
	errUsage  = errors.New("usage")
	errSilent = errors.New("said already")
)

func run(ctx context.Context, name string, args []string, out io.Writer) error {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	switch name {
	case "ping":
		return pingTool(ctx, fs, args, out)
	case "serve":
		if err := parse(fs, args, 0, 1); err != nil {
			return err
		}
		return serveTool(ctx, fs.Arg(0), out)
	case "send":
		return sendTool(ctx, fs, args, out)
	case "blast":
		return blastTool(ctx, fs, args, out)
	case "forge":
		return forgeTool(fs, args, out)
	case "links":
		return Links(out)
	}
	return errUsage
}

// parse reads flags and checks the number of arguments left.
func parse(fs *flag.FlagSet, args []string, least, most int) error {
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if n := fs.NArg(); n < least || n > most {
		return errUsage
	}
	return nil
}

// withPort adds the default port to an address without one.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(addr, DefaultPort)
}

// Links prints the interfaces, one per line with its addresses.
func Links(out io.Writer) error {
	ifs, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("interfaces: %w", err)
	}
	for _, i := range ifs {
		addrs, err := i.Addrs()
		if err != nil {
			return fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		fmt.Fprintf(out, "%s mtu %d", i.Name, i.MTU)
		if len(i.HardwareAddr) > 0 {
			fmt.Fprintf(out, " mac %s", i.HardwareAddr)
		}
		for _, a := range addrs {
			fmt.Fprintf(out, " %s", a)
		}
		fmt.Fprintln(out)
	}
	return nil
}

// closeWith closes c when ctx ends, unless stopped before.
func closeWith(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.Close() })
}

// dialPatiently connects to a server that may not listen yet.
func dialPatiently(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
