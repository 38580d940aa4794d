package store

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A StreamLayer carries the managers' connections to each other. Who is at the
// other end has been proven when it returns them.
type StreamLayer interface {
	Accept() (net.Conn, error)
	Dial(addr string, timeout time.Duration) (net.Conn, error)
	// Close makes Accept return net.ErrClosed.
	Close() error
}

// A stream is a StreamLayer as raft wants it. It knows the connections that are
// open: raft's transport leaves those that it accepted to their other ends.
type stream struct {
	layer StreamLayer
	addr  address

	mu     sync.Mutex
	closed bool
	open   map[*streamConn]struct{}
}

// An address is the text that other managers dial.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

type streamConn struct {
	net.Conn
	of *stream
}

func newStream(layer StreamLayer, addr string) *stream {
	return &stream{layer: layer, addr: address(addr), open: map[*streamConn]struct{}{}}
}

// Accept is part of raft.StreamLayer.
func (s *stream) Accept() (net.Conn, error) { return s.keep(s.layer.Accept()) }

// Dial is part of raft.StreamLayer.
func (s *stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.keep(s.layer.Dial(string(addr), timeout))
}

// Addr is part of raft.StreamLayer.
func (s *stream) Addr() net.Addr { return s.addr }

func (s *stream) keep(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	k := &streamConn{c, s}
	s.open[k] = struct{}{}
	return k, nil
}

// Close closes the layer and every connection.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
	return s.layer.Close()
}

// Close closes one connection.
func (c *streamConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
