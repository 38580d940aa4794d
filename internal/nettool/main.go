package nettool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const usage = `usage: weft tool ping  [-c COUNT] [-i INTERVAL] [-W TIMEOUT] [-s SIZE] [-4|-6] HOST
       weft tool serve [ADDRESS:PORT]                     (default :5201, TCP and UDP)
       weft tool send  [-m MEGABYTES] [-fast] [-P STREAMS] HOST[:PORT]
       weft tool blast [-s SIZE] [-t DURATION] HOST[:PORT]
       weft tool web   [ADDRESS:PORT [TEXT]]              (default :80, HTTP and UDP)
       weft tool fetch [-W TIMEOUT] URL                   (exit 3: refused, 4: unreachable, 5: no answer)
       weft tool forge [-c COUNT] SOURCE DESTINATION      (ICMP echo from a source that is not ours)
       weft tool links                                    (interfaces and their addresses)`

// DefaultPort is where serve listens and send connects to.
const DefaultPort = "5201"

// Main runs one tool by its name in args[0] and returns the exit code: 0, 1 when
// what was asked for did not happen, 2 for a wrong command line, 3 to 5 for what
// became of a fetch (exitCodes). It ends early, with what it has, when ctx does.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := wrong("a tool's name is missing")
	if len(args) > 0 {
		err = run(ctx, args[0], args[1:], stdout)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, usage)
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "weft tool: %v\n%s\n", err, usage)
		return 2
	case errors.Is(err, errSilent):
		return 1
	}
	fmt.Fprintln(stderr, "weft tool:", err)
	for _, c := range exitCodes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return 1
}

var (
	errUsage  = errors.New("wrong command line")
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
	case "web":
		if err := parse(fs, args, 0, 2); err != nil {
			return err
		}
		return webTool(ctx, fs.Arg(0), fs.Arg(1), out)
	case "fetch":
		return fetchTool(ctx, fs, args, out)
	case "forge":
		return forgeTool(fs, args, out)
	case "links":
		return Links(out)
	case "help", "-h", "-help", "--help":
		return flag.ErrHelp
	}
	return wrong("there is no tool %q", name)
}

// wrong is an error of whoever wrote the command line.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errUsage, fmt.Errorf(format, args...))
}

// parse reads flags and checks the number of arguments left.
func parse(fs *flag.FlagSet, args []string, least, most int) error {
	if err := fs.Parse(args); err != nil {
		return wrong("%s: %w", fs.Name(), plain(err))
	}
	for _, arg := range fs.Args()[min(1, fs.NArg()):] {
		if len(arg) > 1 && arg[0] == '-' {
			return wrong("%s: %s: flags come before the other arguments", fs.Name(), arg)
		}
	}
	if n := fs.NArg(); n < least || n > most {
		return wrong("%s: %d arguments, expected %d to %d", fs.Name(), n, least, most)
	}
	return nil
}

// plain says what a time was expected to look like, where package flag does not.
func plain(err error) error {
	if head, ok := strings.CutSuffix(err.Error(), ": parse error"); ok && !errors.Is(err, flag.ErrHelp) {
		return errors.New(head + ": expected a number, of a time with its unit, such as 10s")
	}
	return err
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
