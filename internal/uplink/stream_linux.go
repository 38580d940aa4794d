package uplink

import (
	"net"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A stream is a TCP connection: of an endpoint to the stack, and of this process
// to the outside. It is in the host's table from its SYN, or from its acceptance,
// until both halves have ended.
type stream struct {
	host    *Host
	key     pair
	client  *client
	way     direction
	port    *Published // that it came by
	quoted  []byte     // the headers of the SYN, for an ICMP error about it
	started int64
	last    atomic.Int64
	out, in atomic.Uint64 // bytes
	state   atomic.Uint32
	crowded bool // set with connected
	torn    atomic.Bool

	mu      sync.Mutex
	conn    *net.TCPConn
	end     tcpip.Endpoint
	queue   *waiter.Queue
	aborted bool
	cancel  func() // stops what is under way
}

// The states of a stream.
const (
	opening uint32 = iota
	open
	halfClosed
	closing
)

var stateNames = [...]string{opening: "connecting", open: "established", halfClosed: "half-closed", closing: "closing"}

// errPresent says that a connection is in the table already.
const errPresent = counterCount

// addStream puts a connection into the table. When a bound forbids that, it says
// which; when it is there already, errPresent.
func (h *Host) addStream(key pair, way direction, port *Published) (*stream, counter) {
	c := h.client(key.endpoint.Addr(), true)
	if c == nil {
		return nil, tableFull // closed
	}
	defer c.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[key] != nil {
		return nil, errPresent
	}
	if n, ok := h.admitStream(c, way); !ok {
		return nil, n
	}
	s := &stream{host: h, key: key, client: c, way: way, port: port, started: h.now()}
	s.last.Store(s.started)
	h.streams[key] = s
	return s, 0
}

// removeStream is the end of addStream.
func (h *Host) removeStream(s *stream) {
	c := s.client
	c.mu.Lock()
	c.streams[s.way]--
	if s.way == began && s.state.Load() == opening {
		c.opening--
	}
	c.mu.Unlock()
	h.mu.Lock()
	delete(h.streams, s.key)
	h.mu.Unlock()
	h.flows.Add(-1)
}

// stream returns the connection of two ends, or nil.
func (h *Host) stream(key pair) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[key]
}

// connected notes that both sides are there. It reports false when the stream was
// aborted before: then the two are the caller's to end.
func (s *stream) connected(conn *net.TCPConn, end tcpip.Endpoint, queue *waiter.Queue) bool {
	s.client.mu.Lock()
	if s.state.Swap(open) == opening && s.way == began {
		s.client.opening--
	}
	s.crowded = s.client.streams[s.way] > crowd
	s.client.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return false
	}
	s.conn, s.end, s.queue = conn, end, queue
	return true
}

// abort resets both sides, or stops what is under way.
func (s *stream) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return
	}
	s.aborted = true
	if s.cancel != nil {
		s.cancel()
	}
	if s.conn != nil {
		reset(s.conn)
	}
	if s.end != nil {
		s.end.Abort()
	}
}

// under sets what stops the connection that is under way.
func (s *stream) under(cancel func()) {
	s.mu.Lock()
	s.cancel = cancel
	if s.aborted {
		cancel()
	}
	s.mu.Unlock()
}

// reset closes a connection with RST.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// spawn counts one more goroutine, which calls work.Done; false once the uplink
// is closed.
func (h *Host) spawn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return false
	}
	h.work.Add(1)
	return true
}
