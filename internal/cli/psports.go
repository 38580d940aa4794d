package cli

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// A portRun is a run of ports of a sandbox that follow each other, of one protocol, each
// published on one address under its own number or, where the address is invalid, not
// published.
type portRun struct {
	ip          netip.Addr
	proto       string
	first, last uint16
}

// String is the run as Docker prints it: 0.0.0.0:80-81->80-81/tcp, or 80-81/tcp.
func (r portRun) String() string {
	ports := fmt.Sprint(r.first)
	if r.last > r.first {
		ports += fmt.Sprintf("-%d", r.last)
	}
	if r.ip.IsValid() {
		ports = net.JoinHostPort(r.ip.String(), ports) + "->" + ports
	}
	return ports + "/" + r.proto
}

// displayPorts is the column PORTS, in Docker's order and with its abbreviations: runs of
// ports that have one number on both sides, those that ended early first, then one by
// one the ports that have another number on the host.
func displayPorts(ports []container.PortSummary) string {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort), cmp.Compare(a.Type, b.Type))
	})
	var ended, mapped []string
	var runs []portRun
	for _, p := range sorted {
		if p.IP.IsValid() && p.PublicPort != p.PrivatePort {
			at := net.JoinHostPort(p.IP.String(), fmt.Sprint(p.PublicPort))
			mapped = append(mapped, fmt.Sprintf("%s->%d/%s", at, p.PrivatePort, p.Type))
			continue
		}
		next := portRun{p.IP, p.Type, p.PrivatePort, p.PrivatePort}
		switch i := slices.IndexFunc(runs, func(r portRun) bool { return r.ip == p.IP && r.proto == p.Type }); {
		case i < 0:
			runs = append(runs, next)
		case runs[i].last+1 == p.PrivatePort:
			runs[i].last = p.PrivatePort
		default:
			ended = append(ended, runs[i].String())
			runs[i] = next
		}
	}
	for _, r := range runs {
		ended = append(ended, r.String())
	}
	return strings.Join(append(ended, mapped...), ", ")
}
