package vxlan

import (
	"errors"
	"fmt"
	"net/netip"

	"weft/internal/frame"
)

// Config says how a socket is opened.
type Config struct {
	// Addr is the underlay address and port datagrams are received on, and the
	// address they are sent from. Port 0 lets the kernel choose.
	Addr netip.AddrPort
	// Pool is the number of further sockets that datagrams are sent from, each
	// with a port of its own: the entropy of RFC 7348, 5. 0 is DefaultPool;
	// below 0 there are none, and everything leaves from Addr's port.
	Pool int
	// NoGSO and NoGRO leave the top rung of the ladders out.
	NoGSO, NoGRO bool
	// SendBuffer and ReceiveBuffer are the kernel's buffers in bytes, 0 is
	// DefaultBuffer. Without rights the kernel grants up to net.core.wmem_max
	// and net.core.rmem_max.
	SendBuffer, ReceiveBuffer int
	// ESP makes it a socket for ESP in UDP (RFC 3948): only what is opened by one of
	// its SAs is accepted, only [Socket.NewSealedLink]'s links send. There is no pool:
	// both ports are those that NATs know.
	ESP bool
	// Raw makes a socket for ESP one of IP protocol 50, without UDP (RFC 4303, 2): Addr
	// has no port, and every packet is ESP. It takes CAP_NET_RAW, without which the
	// error of Listen wraps fs.ErrPermission.
	Raw bool
	// Readers is how many goroutines receive at the same time by a socket for ESP in
	// UDP: what one worker of a peer has sealed comes to one of them, and what different
	// workers have, to different ones. 0 is 1, and so is what the system can do no
	// better than; [Socket.Readers] has them.
	Readers int
	// Marked is handed what comes behind the non-ESP marker, the marker left off
	// (RFC 3948, 2.3), by any reader of an ESP socket; nil: it is counted and no more.
	// It must not wait.
	//
	// borrowed: datagram is valid until it returns.
	Marked func(from netip.AddrPort, datagram []byte)
	// Workers is the number of workers that send at the same time, and of
	// queues each link has; 0 is 1.
	Workers int
}

// The defaults of Config.
const (
	DefaultPool   = 4
	DefaultBuffer = 4 << 20
)

// maxPool bounds Config.Pool, maxReaders Config.Readers.
const (
	maxPool    = 63
	maxReaders = 16
)

// The port range of the pool: RFC 7348, 5, recommends the dynamic ports.
const (
	firstPoolPort = 49152
	lastPoolPort  = 65535
)

// The errors callers branch on.
var (
	// ErrBlocked means that the kernel has no room now. It wraps frame.ErrBlocked.
	ErrBlocked = fmt.Errorf("vxlan: %w", frame.ErrBlocked)
	// ErrTooBig means that the underlay's path takes no datagram of this size.
	// It wraps frame.ErrTooBig.
	ErrTooBig = fmt.Errorf("vxlan: %w", frame.ErrTooBig)
	// ErrFailed means that the underlay takes no datagrams to this peer now, for
	// want of a route, say; [SocketStats].SendFault says why.
	ErrFailed = errors.New("vxlan: the underlay refused the datagram")
	// ErrNoKey means that the frame is to be sealed and there is no security
	// association to do it by. It wraps frame.ErrNoKey.
	ErrNoKey = fmt.Errorf("vxlan: %w", frame.ErrNoKey)
	// ErrUnsupported is what Listen, reads, writes and PathMTU return on systems
	// other than Linux.
	ErrUnsupported = errors.New("vxlan: the overlay's sockets need Linux")
)

// withDefaults returns the config with its zeros filled in, or what is wrong
// with it.
func (c Config) withDefaults() (Config, error) {
	if !c.Addr.Addr().IsValid() {
		return c, errors.New("vxlan: no underlay address to listen on was given")
	}
	c.Addr = netip.AddrPortFrom(c.Addr.Addr().Unmap(), c.Addr.Port())
	if c.Pool == 0 {
		c.Pool = DefaultPool
	}
	if c.Pool = max(c.Pool, 0); c.ESP {
		c.Pool = 0
	}
	if c.Raw && (!c.ESP || c.Addr.Port() != 0) {
		return c, fmt.Errorf("vxlan: a raw socket at %s: expected one for ESP, without a port", c.Addr)
	}
	if c.Workers == 0 {
		c.Workers = 1
	}
	if c.Readers == 0 || !c.ESP || c.Raw {
		c.Readers = 1
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = DefaultBuffer
	}
	if c.ReceiveBuffer == 0 {
		c.ReceiveBuffer = DefaultBuffer
	}
	if c.Pool > maxPool || c.Readers < 0 || c.Readers > maxReaders || c.Workers < 0 || c.SendBuffer < 0 || c.ReceiveBuffer < 0 {
		return c, fmt.Errorf("vxlan: pool of %d sockets, %d readers, %d workers, buffers of %d and %d bytes: expected at most %d sockets and %d readers, and nothing below 0",
			c.Pool, c.Readers, c.Workers, c.SendBuffer, c.ReceiveBuffer, maxPool, maxReaders)
	}
	return c, nil
}
