package cluster

import (
	"context"
	"net"
	"net/netip"

	"github.com/hashicorp/memberlist"
)

// An underlay is what a member's control port listens on, what it dials managers
// by, and what its gossip goes over.
type underlay interface {
	listen(addr string) (net.Listener, error)
	dial(ctx context.Context, addr string) (net.Conn, error)
	// free returns nil where the gossip could listen.
	free(at netip.AddrPort) error
	// transport returns the gossip's; nil: sockets of its own.
	transport(at netip.AddrPort) memberlist.Transport
}

// sockets are the host's.
type sockets struct{}

func (sockets) listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func (sockets) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (sockets) free(at netip.AddrPort) error {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	l.Close()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	return u.Close()
}

func (sockets) transport(netip.AddrPort) memberlist.Transport { return nil }

// over returns what a node is reached over: the host's sockets but in simulations.
func (c *Config) over() underlay {
	if c.underlay == nil {
		return sockets{}
	}
	return c.underlay
}
