package fabric

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// backlog is how many streams wait to be accepted; further ones are refused.
const backlog = 256

// A listener takes streams at an address.
type listener struct {
	f      *Fabric
	addr   netip.AddrPort
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen takes streams at an address, whose port is not 0.
func (f *Fabric) Listen(addr netip.AddrPort) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners[addr] != nil {
		return nil, fmt.Errorf("listen %v: %w", addr, syscall.EADDRINUSE)
	}
	l := &listener{f: f, addr: addr, conns: make(chan net.Conn, backlog), closed: make(chan struct{})}
	f.listeners[addr] = l
	return l, nil
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. Streams that nobody accepted end.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.f.mu.Lock()
		delete(l.f.listeners, l.addr)
		l.f.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// Dial opens a stream from a host to an address. Across a cut it waits until ctx
// ends; where nobody listens it is refused at once.
func (f *Fabric) Dial(ctx context.Context, from netip.Addr, to string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, err
	}
	if f.cut(from, at.Addr()) {
		<-ctx.Done()
		return nil, fmt.Errorf("dial %v: %w", at, ctx.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.listeners[at]
	if l == nil {
		return nil, fmt.Errorf("dial %v: %w", at, syscall.ECONNREFUSED)
	}
	here, there := f.streamLocked(from, at)
	select {
	case l.conns <- there:
	default:
		delete(f.streams, here.stream)
		return nil, fmt.Errorf("dial %v: the backlog is full: %w", at, syscall.ECONNREFUSED)
	}
	f.countLocked(from, Traffic{Streams: 1})
	return here, nil
}
