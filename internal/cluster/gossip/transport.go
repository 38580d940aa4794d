package gossip

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// A transport bounds another one's streams: memberlist writes to a stream without
// a deadline, and a peer that does not read would hold the writer for ever. A
// stream lives for the dial's timeout, and ends when the transport is stopped. Of the
// streams that others open there are maxInbound at a time (inbound.go).
type transport struct {
	memberlist.NodeAwareTransport
	stop    context.Context
	inbound inbound
	crowded func()        // counts
	down    chan struct{} // closed when the transport below has ended
	ending  sync.Once
}

func newTransport(of memberlist.NodeAwareTransport, stop context.Context) *transport {
	return &transport{NodeAwareTransport: of, stop: stop, inbound: inbound{out: make(chan net.Conn)}, down: make(chan struct{})}
}

// unnamed gives a transport without names the methods that take them.
type unnamed struct{ memberlist.Transport }

func (t unnamed) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t unnamed) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// openTransport returns the configured transport, or sockets, and tells memberlist
// the ports.
func openTransport(stop context.Context, c *Config, m *memberlist.Config) (*transport, error) {
	if c.Transport != nil {
		aware, ok := c.Transport.(memberlist.NodeAwareTransport)
		if !ok {
			aware = unnamed{c.Transport}
		}
		return newTransport(aware, stop), nil
	}
	nt, err := listen(c, m)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", c.Bind, err)
	}
	m.BindAddr, m.BindPort = c.Bind.Addr().String(), nt.GetAutoBindPort()
	m.AdvertiseAddr, m.AdvertisePort = "", m.BindPort
	if c.Advertise.IsValid() {
		m.AdvertiseAddr, m.AdvertisePort = c.Advertise.Addr().String(), int(c.Advertise.Port())
	}
	return newTransport(nt, stop), nil
}

// listen opens UDP and TCP on one port. When the port is to be chosen, TCP's
// choice may be taken for UDP: then another is tried.
func listen(c *Config, m *memberlist.Config) (nt *memberlist.NetTransport, err error) {
	tries := 1
	if c.Bind.Port() == 0 {
		tries = 10
	}
	for range tries {
		nt, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{c.Bind.Addr().String()}, BindPort: int(c.Bind.Port()), Logger: m.Logger,
		})
		if err == nil {
			return nt, nil
		}
	}
	return nil, err
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if err := t.stop.Err(); err != nil {
		return nil, net.ErrClosed
	}
	conn, err := t.dial(a, timeout)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		conn.Close()
		return nil, err
	}
	return &stream{conn, context.AfterFunc(t.stop, func() { conn.Close() })}, nil
}

// dial asks sockets with the stop in hand, so that it ends a connection attempt.
func (t *transport) dial(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if _, sockets := t.NodeAwareTransport.(*memberlist.NetTransport); !sockets {
		return t.NodeAwareTransport.DialAddressTimeout(a, timeout)
	}
	d := net.Dialer{Timeout: timeout}
	return d.DialContext(t.stop, "tcp", a.Addr)
}

// A stream is a connection that the transport's stop closes.
type stream struct {
	net.Conn
	release func() bool
}

func (s *stream) Close() error {
	s.release()
	return s.Conn.Close()
}
