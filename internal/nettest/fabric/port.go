package fabric

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// A Port is where a node gossips: a transport of memberlist's.
type Port struct {
	f       *Fabric
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
}

// maxPackets is how many datagrams wait to be read; further ones are lost.
const maxPackets = 4096

// Port opens a port. One that was opened before at the address hears nothing more.
func (f *Fabric) Port(addr netip.AddrPort) *Port {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &Port{f, addr, make(chan *memberlist.Packet, maxPackets), make(chan net.Conn, backlog)}
	f.ports[addr] = p
	f.listeners[addr] = &listener{f: f, addr: addr, conns: p.streams}
	return p
}

// packet copies a datagram.
func packet(from netip.AddrPort, b []byte) *memberlist.Packet {
	return &memberlist.Packet{Buf: slices.Clone(b), From: net.UDPAddrFromAddrPort(from)}
}

func (f *Fabric) deliver(from, to netip.AddrPort, p *memberlist.Packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.ports[to]
	if d == nil || f.apart[from.Addr()] != f.apart[to.Addr()] {
		return
	}
	p.Timestamp = time.Now()
	select {
	case d.packets <- p:
	default:
	}
}

// FinalAdvertiseAddr implements [memberlist.Transport].
func (p *Port) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.addr.Addr().AsSlice(), int(p.addr.Port()), nil
}

// WriteTo implements [memberlist.Transport].
func (p *Port) WriteTo(b []byte, to string) (time.Time, error) {
	at, err := netip.ParseAddrPort(to)
	if err == nil {
		err = p.f.send(p.addr, at, b)
	}
	return time.Now(), err
}

// DialTimeout implements [memberlist.Transport].
func (p *Port) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.f.Dial(ctx, p.addr.Addr(), to)
}

// PacketCh implements [memberlist.Transport].
func (p *Port) PacketCh() <-chan *memberlist.Packet { return p.packets }

// StreamCh implements [memberlist.Transport].
func (p *Port) StreamCh() <-chan net.Conn { return p.streams }

// Shutdown implements [memberlist.Transport].
func (p *Port) Shutdown() error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.f.ports[p.addr] == p {
		delete(p.f.ports, p.addr)
		delete(p.f.listeners, p.addr)
	}
	return nil
}
