package demo

import (
	"context"
	"net/netip"
	"time"

	"weft/internal/api"
	"weft/internal/nettool"
)

// A stage is where the tour plays: networks, and hosts on them that do what they
// are told. Every host runs `weft tool serve` from its start on.
type stage interface {
	// label names the kind of hosts, as in the tour's last line.
	label() string
	// network makes an isolated network.
	network(ctx context.Context, name string, subnet netip.Prefix) error
	// start starts a host on a network.
	start(ctx context.Context, host, network string) error
	// connect and disconnect plug a running host in and out.
	connect(ctx context.Context, network, host string) error
	disconnect(ctx context.Context, network, host string) error
	// inner makes a network that has no way out.
	inner(ctx context.Context, name string, subnet netip.Prefix) error
	// web starts a host that answers HTTP and datagrams at port 80, with its name and
	// who asked, and publishes both at a port of 127.0.0.1 each.
	web(ctx context.Context, host, network string) (tcp, udp netip.AddrPort, err error)
	// fetch gets a URL from a host. The error wraps nettool's where there was no
	// connection.
	fetch(ctx context.Context, host, url string, timeout time.Duration) (string, error)
	// flows returns what a host has by the ways out now, and as a table to show.
	flows(ctx context.Context, host string) ([]api.Flow, string, error)
	// links returns a host's interfaces but the loopback, as the host sees them.
	links(ctx context.Context, host string) ([]link, error)
	// ping sends echo requests from a host.
	ping(ctx context.Context, host string, to netip.Addr, count int) (nettool.PingResult, error)
	// send transfers n bytes to the server at an address, and with verify
	// compares their SHA-256.
	send(ctx context.Context, host string, to netip.Addr, n uint64, verify bool) (nettool.Transfer, error)
	// forge sends echo requests from a host with another's source address.
	forge(ctx context.Context, host string, src, dst netip.Addr, count int) error
	// drops returns what the switch dropped coming from a host, by reason.
	drops(ctx context.Context, host string) (map[string]uint64, error)
	// capture writes what the filter selects of a host's frames, both ways, to a
	// pcapng file while during runs.
	capture(ctx context.Context, host, filter, file string, during func() error) error
	// member makes the i-th node of an overlay, whose VTEP is at an address.
	member(ctx context.Context, i int, at netip.AddrPort) (member, error)
	// close takes everything down and leaves nothing behind.
	close(ctx context.Context) error
}

// A link is one network interface of a host.
type link struct {
	name  string
	mac   string
	addrs []netip.Prefix
}
