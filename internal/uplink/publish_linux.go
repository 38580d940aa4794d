package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Published is a port of the host's that leads to an endpoint.
type Published struct {
	host     *Host
	binding  Binding
	addr     netip.AddrPort
	close    sync.Once
	listener *net.TCPListener // TCP
	// UDP. Guarded by the target's client's mu.
	sock    *socket
	clients map[netip.AddrPort]*datagrams
}

// Publish opens a port. It listens when Publish returns; the error says what is in
// the way, and wraps what the system call said, such as EADDRINUSE.
func (h *Host) Publish(b Binding) (*Published, error) {
	if err := b.check(h); err != nil {
		return nil, fmt.Errorf("publish %s: %w", b, err)
	}
	p := &Published{host: h, binding: b}
	var err error
	if b.Proto == "tcp" {
		err = p.listenTCP()
	} else {
		err = p.listenUDP()
	}
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", b, explain(err, b))
	}
	h.mu.Lock()
	closed := h.closed.Load()
	h.published[p] = struct{}{}
	h.mu.Unlock()
	if closed {
		p.Close()
		return nil, fmt.Errorf("publish %s: uplink of %s: %w", b, h.cfg.Name, net.ErrClosed)
	}
	return p, nil
}

func (b *Binding) check(h *Host) error {
	target := b.Target.Addr()
	switch {
	case b.Proto != "tcp" && b.Proto != "udp":
		return fmt.Errorf("protocol %q: expected tcp or udp", b.Proto)
	case !b.Listen.Addr().IsValid() || b.Listen.Addr().Is4In6():
		return fmt.Errorf("%q is no address to listen on", b.Listen.Addr())
	case !target.IsValid() || target.Is4In6() || target.IsUnspecified() || target.IsMulticast() || b.Target.Port() == 0:
		return fmt.Errorf("%s is no address and port of an endpoint", b.Target)
	case !h.cfg.gateway(target).IsValid():
		return fmt.Errorf("the network has no gateway of the family of %s", target)
	}
	return nil
}

// explain says what a user can do about a failure to listen.
func explain(err error, b Binding) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("something else on this host has %s port %s: %w", b.Proto, b.Listen, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("no interface of this host has address %s: %w", b.Listen.Addr(), err)
	case (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) && b.Listen.Port() != 0:
		if first := firstUnprivileged(); int(b.Listen.Port()) < first {
			return fmt.Errorf("ports below %d are privileged: choose another one, or lower the sysctl net.ipv4.ip_unprivileged_port_start to %d: %w", first, b.Listen.Port(), err)
		}
	}
	return err
}

// firstUnprivileged returns the lowest port that everybody may have.
func firstUnprivileged() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return n
		}
	}
	return 1024
}

// Addr returns the address and port on the host: with the port that the kernel
// chose, if it had to.
func (p *Published) Addr() netip.AddrPort { return p.addr }

// Binding returns what the port was published with.
func (p *Published) Binding() Binding { return p.binding }

// Close stops listening. Connections that came by the port go on; UDP clients are
// forgotten.
func (p *Published) Close() error {
	p.close.Do(func() {
		p.host.mu.Lock()
		delete(p.host.published, p)
		p.host.mu.Unlock()
		if p.listener != nil {
			p.listener.Close()
			return
		}
		c := p.sock.client
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, d := range p.clients {
			c.end(p.host, d)
		}
		c.ports--
		p.host.sockets.remove(p.sock)
	})
	return nil
}

// listenTCP listens. An IPv6 listener takes no IPv4: that is published by itself.
func (p *Published) listenTCP() error {
	network := "tcp4"
	if p.binding.Listen.Addr().Is6() {
		network = "tcp6"
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive(), Control: func(_, _ string, c syscall.RawConn) error {
		return inlineUrgent("", "", c)
	}}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), network, p.binding.Listen.String())
	if err != nil {
		return err
	}
	p.listener = l.(*net.TCPListener)
	p.addr = netip.AddrPortFrom(p.binding.Listen.Addr(), uint16(p.listener.Addr().(*net.TCPAddr).Port))
	if !p.host.spawn() {
		p.listener.Close()
		return net.ErrClosed
	}
	go p.accept()
	return nil
}

// sourceFor returns the address that a client of a published port has for the
// endpoint: its own, if that can lead back through the gateway, else the
// gateway's.
func (h *Host) sourceFor(client, target netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if client.Is4() != target.Is4() || !h.cfg.Begins(target) {
		return h.cfg.gateway(target)
	}
	if _, j := h.cfg.judge(client); j != allowed {
		return h.cfg.gateway(target)
	}
	return client
}
