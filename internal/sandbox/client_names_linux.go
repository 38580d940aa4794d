package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"weft/internal/cnm"
)

// How many connections are opened from inside at a time, and how long one may take.
// The daemon keeps to half of it: its other requests find a place with the agent.
const (
	maxDials    = 64
	dialTimeout = 4 * time.Second
)

func newDials() chan struct{} { return make(chan struct{}, maxDials/2) }

// Names returns the sockets at 127.0.0.11, port 53, that the sandbox's questions for
// names come to. Every call returns the same sockets under new descriptors, which are the
// caller's; the agent keeps its own.
func (a *Agent) Names(ctx context.Context) (net.PacketConn, net.Listener, error) {
	_, fds, err := a.call(ctx, request{Op: opNames})
	if err != nil {
		return nil, nil, err
	}
	files := asFiles(fds)
	defer closeFiles(files)
	if len(files) != 2 {
		return nil, nil, a.wrap(opNames, fmt.Errorf("%d descriptors, 2 were expected", len(files)))
	}
	pc, err := net.FilePacketConn(files[0])
	if err != nil {
		return nil, nil, a.wrap(opNames, err)
	}
	l, err := net.FileListener(files[1])
	if err != nil {
		pc.Close()
		return nil, nil, a.wrap(opNames, err)
	}
	want := netip.AddrPortFrom(cnm.EmbeddedDNS, namesPort).String()
	for _, got := range []net.Addr{pc.LocalAddr(), l.Addr()} {
		if got.String() != want {
			pc.Close()
			l.Close()
			return nil, nil, a.wrap(opNames, fmt.Errorf("a socket at %s, %s was expected", got, want))
		}
	}
	return pc, l, nil
}

// Dial opens a connection from inside, by the sandbox's own way out. The network is udp
// or tcp, the address one of an IP and a port. A TCP connection that is not there after
// 4 s fails.
func (a *Agent) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case a.dials <- struct{}{}:
		defer func() { <-a.dials }()
	case <-ctx.Done():
		return nil, a.wrap(opDial, ctx.Err())
	}
	_, fds, err := a.call(ctx, request{Op: opDial, Network: network, Address: address})
	if err != nil {
		return nil, err
	}
	files := asFiles(fds)
	defer closeFiles(files)
	if len(files) != 1 {
		return nil, a.wrap(opDial, errEmpty)
	}
	c, err := net.FileConn(files[0])
	if err != nil {
		return nil, a.wrap(opDial, err)
	}
	to := c.RemoteAddr()
	if to == nil || to.Network() != network || to.String() != address {
		c.Close()
		return nil, a.wrap(opDial, fmt.Errorf("a connection to %v, %s was expected", to, address))
	}
	return c, nil
}

func asFiles(fds []int) []*os.File {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "passed")
	}
	return files
}
