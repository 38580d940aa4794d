package discovery

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxPipelined is how many questions of one connection may be forwarded at a time; the
// next is read when one of them is done.
const maxPipelined = 32

// ServeStream answers on the connections of a TCP listener, which becomes the server's,
// until Close.
func (s *Server) ServeStream(l net.Listener) error {
	return s.own(l, func() {
		defer s.disown(l)
		s.accept(l)
	})
}

func (s *Server) accept(l net.Listener) {
	for errs := 0; errs < maxReadErrors; {
		c, err := l.Accept()
		switch {
		case err == nil:
			errs = 0
			s.admit(c)
		case errors.Is(err, net.ErrClosed), s.ctx.Err() != nil:
			return
		default:
			if errs++; errs == maxReadErrors {
				s.failed("TCP", l.Addr(), err)
			}
			time.Sleep(time.Duration(errs) * time.Millisecond) // it may be out of descriptors
		}
	}
}

// admit runs a connection unless there are too many.
func (s *Server) admit(c net.Conn) {
	var client netip.Addr
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		client = a.AddrPort().Addr().Unmap()
	}
	s.mu.Lock()
	fits := s.conns < s.cfg.TCPConns && s.clients[client] < s.cfg.TCPClients
	if fits {
		s.conns++
		s.clients[client]++
	}
	s.mu.Unlock()
	if !fits {
		s.stats.count(TCPRefused)
		c.Close()
		return
	}
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns--
		if s.clients[client]--; s.clients[client] == 0 {
			delete(s.clients, client)
		}
	}
	err := s.own(c, func() {
		defer leave()
		defer s.disown(c)
		s.converse(&stream{Conn: c, idle: s.cfg.TCPIdle}, client)
	})
	if err != nil {
		leave()
	}
}

// A stream is a connection that several goroutines write answers to.
type stream struct {
	net.Conn
	idle    time.Duration
	mu      sync.Mutex
	pending sync.WaitGroup
}

// send writes one message with its length before it (RFC 1035, 4.2.2). An error ends
// the connection.
func (c *stream) send(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.SetWriteDeadline(time.Now().Add(c.idle))
	_, err := c.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b))), b...))
	if err != nil {
		c.Close()
	}
	return err
}

// converse answers one query after the other until the client goes, falls silent, or
// sends what is none.
func (s *Server) converse(c *stream, client netip.Addr) {
	defer c.pending.Wait() // no answer is written to a connection that is closed here
	t := turn{out: make([]byte, maxUDP)}
	places := make(chan struct{}, maxPipelined)
	in := make([]byte, maxQuery+1)
	r := bufio.NewReaderSize(c, 2+512)
	for {
		c.SetReadDeadline(time.Now().Add(c.idle))
		var size [2]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		msg := in[:min(n, len(in))]
		if _, err := io.ReadFull(r, msg); err != nil {
			return
		}
		s.stats.count(QueriesTCP)
		v := s.view(client)
		if s.cfg.Zone.transfer(s, c, client, msg) {
			continue
		}
		answer, p := s.respond(&t, v, client, msg, true)
		if p != nil {
			places <- struct{}{}
			c.pending.Add(1)
			answer = s.ask(p, true, func(answer []byte) {
				c.send(answer)
				<-places
				c.pending.Done()
			})
			if answer != nil { // refused, nothing is pending
				<-places
				c.pending.Done()
			}
		}
		if answer == nil && p == nil || answer != nil && c.send(answer) != nil || n > maxQuery {
			return
		}
	}
}
