package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

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
	r := api.TraceRequest{Port: f.port}
	if isDescription(what) {
		neighbours, err := cl.ARP(c.Context(), "")
		if err != nil {
			return err
		}
		stats, err := cl.Stats(c.Context())
		if err != nil {
			return err
		}
		r, err = resolve(what, f.port, neighbours, stats)
		if err != nil {
			return err
		}
	} else if r.Frame, err = readFrame(what); err != nil {
		return err
	}
	if r.Port == "" {
		return usagef(c, "--port is missing: the port that the frame comes from, such as rose:eth0")
	}
	return a.printTrace(c.Context(), cl, r, f.format)
}

func (a *app) printTrace(ctx context.Context, cl *api.Client, r api.TraceRequest, format string) error {
	steps, err := cl.Trace(ctx, r)
	if err != nil {
		return err
	}
	rows := make([]record, 0, len(steps))
	for _, s := range steps {
		rows = append(rows, record{"Step": s.Step, "Result": s.Result})
	}
	if format == "" {
		fmt.Fprintf(a.out, "from %s: %s\n\n", r.Port, capture.Summary(r.Frame))
	}
	return traceListing().print(a.out, format, false, rows)
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
		return nil, fmt.Errorf("frame %q: expected hex digits, FILE.pcap:N of an existing file, or src=…,dst=…", ellipsis(s, 60))
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

// resolve finds out what a description leaves open: the addresses of names, the
// port and MAC of the source, the MAC of the destination or of the gateway.
func resolve(what, port string, neighbours []api.Neighbour, stats []api.PortStats) (api.TraceRequest, error) {
	d, err := parseDescription(what)
	if err != nil {
		return api.TraceRequest{}, err
	}
	if d.src == "" {
		d.src, _, _ = strings.Cut(port, ":")
	}
	if d.src == "" {
		return api.TraceRequest{}, errors.New("src= is missing: an address or a sandbox's name, or --port")
	}
	from, src, err := locate(d.src, "", neighbours, netip.Addr{})
	if err != nil {
		return api.TraceRequest{}, err
	}
	if from.Network == "" { // not a neighbour: what its port's network knows counts
		from.Network = networkOf(stats, port)
	}
	to, dst, err := locate(d.dst, from.Network, neighbours, src)
	if err != nil {
		return api.TraceRequest{}, err
	}
	if port == "" {
		port = portOn(stats, from)
	}
	if d.smac.IsZero() {
		if d.smac = macOf(stats, port); d.smac.IsZero() && len(from.MAC) == 6 {
			d.smac = frame.MAC(from.MAC)
		}
	}
	if d.dmac.IsZero() {
		d.dmac = destinationMAC(d.proto, dst, to, from.Network, neighbours)
	}
	b, err := d.build(src, dst)
	return api.TraceRequest{Port: port, Frame: b}, err
}

// locate finds an address or a sandbox's name among the neighbours, on network
// if given, of the family that peer has.
func locate(what, network string, all []api.Neighbour, peer netip.Addr) (api.Neighbour, netip.Addr, error) {
	addr, parseErr := netip.ParseAddr(what)
	var found *api.Neighbour
	for i, n := range all {
		hit := n.Addr == addr || (parseErr != nil && n.Sandbox == what && (!peer.IsValid() || n.Addr.Is4() == peer.Is4()))
		if hit && (found == nil || (n.Network == network && found.Network != network) || (found.Addr.Is6() && n.Addr.Is4())) {
			found = &all[i]
		}
	}
	switch {
	case found != nil:
		return *found, found.Addr, nil
	case parseErr == nil:
		return api.Neighbour{}, addr, nil
	}
	return api.Neighbour{}, addr, fmt.Errorf("%q is no address, and no running sandbox on a network has that name", what)
}

// portOn is the port of a neighbour's sandbox on its network.
func portOn(stats []api.PortStats, n api.Neighbour) string {
	for _, p := range stats {
		if p.Network == n.Network && (p.Sandbox == n.Sandbox && n.Sandbox != "" || p.MAC.String() == n.MAC.String()) {
			return p.Port
		}
	}
	return ""
}

// networkOf is the network that a port, or a sandbox's first port, is on.
func networkOf(stats []api.PortStats, port string) string {
	for _, p := range stats {
		if p.Port == port || p.Sandbox == port {
			return p.Network
		}
	}
	return ""
}

func macOf(stats []api.PortStats, port string) frame.MAC {
	for _, p := range stats {
		if (p.Port == port || p.Sandbox == port) && len(p.MAC) == 6 {
			return frame.MAC(p.MAC)
		}
	}
	return frame.MAC{}
}

// destinationMAC is what the source's own stack would choose: the neighbour's
// on the same network, a group's for multicast and questions, else the
// gateway's.
func destinationMAC(proto string, dst netip.Addr, to api.Neighbour, network string, all []api.Neighbour) frame.MAC {
	a := dst.AsSlice()
	switch {
	case proto == "arp" || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case proto == "nd": // RFC 4291 2.7.1, RFC 2464 7
		return frame.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}
	case dst.IsMulticast() && dst.Is4(): // RFC 1112 6.4
		return frame.MAC{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}
	case dst.IsMulticast():
		return frame.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
	case len(to.MAC) == 6 && to.Network == network:
		return frame.MAC(to.MAC)
	}
	for _, n := range all {
		if n.Network == network && n.Sandbox == "" && n.Static && n.Addr.Is4() == dst.Is4() && len(n.MAC) == 6 {
			return frame.MAC(n.MAC)
		}
	}
	return frame.MAC{}
}
