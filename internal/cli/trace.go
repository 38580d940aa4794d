package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/capture"
	"weft/internal/frame"
)

// traceFlags are the flags of `weft trace`.
type traceFlags struct{ port, lab, format string }

func (a *app) traceCmd() *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use:   "trace [FLAGS] HEX | FILE.pcap:N | src=…,dst=…[,proto=…][,dport=…]…",
		Short: "Say step by step what the switch would do with a frame, and why",
		Long: "Say step by step what the switch would do with a frame that comes from a port, and why. Nothing is sent and\n" +
			"nothing is learned. The frame is a string of hex digits, record N (from 1) of a capture file, or a\n" +
			"description; src and dst may be sandboxes' names, proto is icmp (default), tcp, udp, arp or nd, and sport,\n" +
			"dport, smac, dmac, vlan, ttl and len say the rest.",
		Example: "  weft trace src=rose,dst=iris,proto=tcp,dport=80\n  weft trace --port rose:eth0 in.pcap:3\n" +
			"  weft trace --lab lab.yaml --port a src=10.0.0.2,dst=10.0.0.3",
		Args: exactArgs(1, "HEX, FILE:N or a description"),
	}
	c.Flags().StringVar(&f.port, "port", "", "Port that the frame comes from: SANDBOX or SANDBOX:ethN (default where src is)")
	c.Flags().StringVar(&f.lab, "lab", "", "Ask a switch made from a lab file, without a daemon")
	c.Flags().StringVar(&f.format, "format", "", formatHelp)
	c.RunE = func(c *cobra.Command, args []string) error {
		if isDescription(args[0]) {
			if _, err := parseDescription(args[0]); err != nil {
				return &usageError{cmd: c, err: err}
			}
		}
		if f.lab != "" {
			return a.traceLab(c, &f, args[0])
		}
		return a.trace(c, &f, args[0])
	}
	return c
}

func (a *app) trace(c *cobra.Command, f *traceFlags, what string) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	r, note := api.TraceRequest{Port: f.port}, ""
	if isDescription(what) {
		around, err := surroundingsOf(c.Context(), cl)
		if err != nil {
			return err
		}
		r, note, err = around.resolve(what, f.port)
		if err != nil {
			return err
		}
	} else if r.Frame, err = readFrame(what); err != nil {
		return err
	}
	if r.Port == "" {
		return usagef(c, "--port is missing: the port that the frame comes from, such as rose:eth0")
	}
	steps, err := cl.Trace(c.Context(), r)
	if err != nil {
		return err
	}
	rows := make([]record, 0, len(steps))
	for _, s := range steps {
		rows = append(rows, record{"Step": s.Step, "Result": s.Result})
	}
	return a.printTrace(r, note, f.format, rows)
}

// printTrace prints the steps, and before them, for people, what was asked.
func (a *app) printTrace(r api.TraceRequest, note, format string, rows []record) error {
	if format == "" {
		if note != "" {
			fmt.Fprintln(a.out, note)
		}
		fmt.Fprintf(a.out, "from %s: %s\n\n", r.Port, capture.Summary(r.Frame))
	}
	return traceListing().print(a.out, format, false, rows)
}

// surroundingsOf asks a daemon for what it knows of its networks.
func surroundingsOf(ctx context.Context, cl *api.Client) (*surroundings, error) {
	s := surroundings{nobody: "no running sandbox of this node that is on a network has that name"}
	var err error
	if s.neighbours, err = cl.ARP(ctx, ""); err != nil {
		return nil, err
	}
	if s.ports, err = cl.Stats(ctx); err != nil {
		return nil, err
	}
	r, err := cl.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, err
	}
	for _, nw := range r.Items {
		for _, p := range nw.IPAM.Config {
			s.subnets = append(s.subnets, subnet{network: nw.Name, prefix: p.Subnet, gateway: p.Gateway})
		}
	}
	return &s, nil
}

func traceListing() listing {
	return listing{
		headings: headings{"Step": "STEP", "Result": "RESULT"},
		table:    `{{.Step}}\t{{.Result}}`, quiet: "{{.Step}}",
	}
}

func isDescription(s string) bool {
	k, _, ok := strings.Cut(s, "=")
	return ok && !strings.ContainsAny(k, "/.:")
}

// readFrame reads a frame from hex digits or from FILE:N.
func readFrame(s string) ([]byte, error) {
	if i := strings.LastIndexByte(s, ':'); i > 0 {
		if n, err := strconv.Atoi(s[i+1:]); err == nil {
			if _, statErr := os.Stat(s[:i]); statErr == nil {
				return recordOf(s[:i], n)
			}
		}
	}
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "", "\n", "", "0x", "").Replace(s))
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("frame %q: expected hex digits, FILE.pcap:N of an existing file, or src=…,dst=…", ellipsis(s, 60))}
	}
	if len(b) == 0 || len(b) > frame.MaxFrame {
		return nil, fmt.Errorf("frame of %d bytes: expected 1 to %d", len(b), frame.MaxFrame)
	}
	return b, nil
}

// recordOf is record n, counted from 1 as Wireshark does, of a capture file.
func recordOf(path string, n int) ([]byte, error) {
	if n < 1 {
		return nil, fmt.Errorf("%s: record %d: records are counted from 1", path, n)
	}
	r, err := capture.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var p capture.Packet
	for i := 1; ; i++ {
		if err := r.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%s: it has %d record%s, not %d", path, i-1, plural(i-1), n)
			}
			return nil, err
		}
		if i == n {
			if p.Reason != frame.NotDropped {
				return nil, fmt.Errorf("%s: record %d is %d bytes long, more than a frame can be", path, n, p.OrigLen)
			}
			return append([]byte(nil), p.Data...), nil
		}
	}
}
