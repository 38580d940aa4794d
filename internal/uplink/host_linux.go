package uplink

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"weft/internal/frame"
)

// Theory of operation: the host uplink
//
// Frames from endpoints come by WriteBatch, in the goroutine of whichever worker
// has them. UDP and echo requests become a send on an ordinary socket there and
// then (datagram_linux.go). TCP goes into the stack, whose goroutines ("processors")
// work it; each connection has two more that carry bytes between the stack's
// endpoint and a socket of the host (splice_linux.go). A SYN is judged before the
// stack sees it, and is answered only when the outside has answered
// (outbound_linux.go).
//
// Frames for endpoints go by ReadBatch: packets of the stack's out of the ring,
// then datagrams straight from their sockets into the worker's own memory. Ring
// and sockets are in one epoll set, whose descriptor is what FD returns.
//
// State: an endpoint that has flows has a client, which holds its datagram flows
// and their sockets under a lock of its own, and counts its connections.
// Connections stand in one table for all. The order of locks is clientsMu,
// client.mu, Host.mu, ring.mu; none of them is held while the stack is called.
//
// Goroutines: the stack's, one that sweeps, one per listener, one or two per
// connection. Close ends all and waits.
//
// Bounds: HostConfig's on flows, halfOpen on connections under way, the ring's, the
// stack's on buffers (buffers in stack_linux.go) and reassembly.

// A Host is a host uplink: the queue behind the exit of one bridge domain.
type Host struct {
	cfg     HostConfig
	counts  counters
	start   time.Time
	closed  atomic.Bool
	stack   *stack.Stack
	syns    *tcp.Forwarder
	link    *link
	ring    *ring
	errors  budget
	sockets socketSet
	rx      receiver // ReadBatch's own
	flows   atomic.Int64
	out, in atomic.Uint64 // bytes
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	close   sync.Once

	clientsMu sync.RWMutex
	clients   map[netip.Addr]*client

	mu        sync.Mutex
	streams   map[pair]*stream
	published map[*Published]struct{}
}

// A pair is the two ends of a flow as the endpoint sees them.
type pair struct{ endpoint, remote netip.AddrPort }

// NewHost makes a host uplink. It has no ports published yet.
func NewHost(cfg HostConfig) (*Host, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	h := &Host{cfg: cfg, start: time.Now(), clients: map[netip.Addr]*client{}, streams: map[pair]*stream{}, published: map[*Published]struct{}{}}
	var err error
	if h.ring, err = newRing(); err != nil {
		return nil, fmt.Errorf("uplink of %s: eventfd: %w", cfg.Name, err)
	}
	if err := h.sockets.open(h.ring.event); err != nil {
		h.ring.free()
		return nil, fmt.Errorf("uplink of %s: %w", cfg.Name, err)
	}
	h.link = &link{mtu: uint32(cfg.MTU), ring: h.ring, counts: &h.counts}
	if err := h.openStack(); err != nil {
		h.sockets.close()
		h.ring.free()
		return nil, fmt.Errorf("uplink of %s: %w", cfg.Name, err)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.work.Go(h.sweep)
	return h, nil
}

// FD returns the descriptor that can be read while ReadBatch has something.
func (h *Host) FD() int { return h.sockets.epoll }

// Caps implements vswitch.Queue: the stack takes TCP superframes whole, a socket
// of the host datagrams of one size.
func (h *Host) Caps() frame.Caps {
	return frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN | frame.CapUSO
}

// now returns the time since the uplink was made, in nanoseconds.
func (h *Host) now() int64 { return int64(time.Since(h.start)) }

// Close resets every connection, closes every socket and listener, and returns
// when nothing is left. No worker may use the queue any more.
func (h *Host) Close() error {
	h.close.Do(func() {
		h.mu.Lock()
		h.closed.Store(true)
		h.cancel()
		var all []*stream
		for _, s := range h.streams {
			all = append(all, s)
		}
		var ports []*Published
		for p := range h.published {
			ports = append(ports, p)
		}
		h.mu.Unlock()
		for _, p := range ports {
			p.Close()
		}
		for _, s := range all {
			s.abort()
		}
		h.waitWork()
		h.stack.Close()
		h.stack.Wait()
		h.ring.close()
		h.closeClients()
		h.sockets.close()
		h.ring.free()
	})
	return nil
}

// waitWork waits for the uplink's goroutines. A handshake that began as the others
// were aborted is found in the stack.
func (h *Host) waitWork() {
	done := make(chan struct{})
	go func() {
		h.work.Wait()
		close(done)
	}()
	for {
		for _, e := range h.stack.RegisteredEndpoints() {
			e.Abort()
		}
		select {
		case <-done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// sweep ends what is idle for too long, and what belongs to endpoints that have
// gone, until the uplink is closed.
func (h *Host) sweep() {
	const interval = 5 * time.Second
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
			h.sweepOnce(h.now())
		}
	}
}

// sweepOnce is one round of sweep. An endpoint must be missing in two rounds one
// after the other, for it may be about to move.
func (h *Host) sweepOnce(now int64) {
	for _, c := range h.allClients() {
		c.mu.Lock()
		c.expire(h, now)
		if _, known := h.cfg.Neighbour(c.addr); known {
			c.missing = 0
		} else {
			c.missing++
		}
		gone := c.missing == 2
		if gone {
			c.endAll(h)
		}
		idle := c.idle()
		c.mu.Unlock()
		if gone {
			for _, s := range h.streamsOf(c.addr) {
				s.abort()
			}
		}
		if idle {
			h.forget(c)
		}
	}
}

// streamsOf returns an endpoint's connections.
func (h *Host) streamsOf(a netip.Addr) (of []*stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, s := range h.streams {
		if k.endpoint.Addr() == a {
			of = append(of, s)
		}
	}
	return of
}

// errClosed is what the queue's methods return after Close.
func (h *Host) errClosed() error {
	if h.closed.Load() {
		return os.ErrClosed
	}
	return nil
}

// PingSockets reports whether this process may send echo requests; the error says
// what to do.
func PingSockets() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return fmt.Errorf("ping sockets are not allowed to group %d: %w: set the sysctl net.ipv4.ping_group_range to one that includes it, such as \"0 2147483647\"", os.Getgid(), err)
	}
	unix.Close(fd)
	return nil
}
