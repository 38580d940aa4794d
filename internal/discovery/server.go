package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Theory of operation
//
// A Server answers on sockets that were opened elsewhere: those of a sandbox's
// 127.0.0.11, or those of a gateway, where each client has its own view. It has one
// goroutine for each socket and each TCP connection, and one for each question that is
// forwarded: the forwarder bounds these. Whatever the records or a cache can answer is
// answered in the socket's goroutine.
//
// A datagram is answered with one datagram, to where it came from, and with no more
// than its sender takes: 512 bytes, or what its OPT record says, at most 4,096. In a
// sandbox nobody else can be made to get it; at a gateway the switch's guard has seen
// to it that the source is the sender's own. ANY gets one record (RFC 8482).
//
// TCP (RFC 7766): questions may follow each other, answers come as they are ready; a
// connection on which nothing comes for TCPIdle is closed, as is one whose client does
// not read.
//
// Close closes the sockets, ends what is being asked, and waits for all goroutines.

// Defaults of a ServerConfig.
const (
	DefaultTCPConns   = 64
	DefaultTCPClients = 16
	DefaultTCPIdle    = 10 * time.Second
)

// ServerConfig is how a server is made.
type ServerConfig struct {
	// View is who a client is by its address; with nil, or a nil view, it is refused
	// what is not in the Zone.
	View func(client netip.Addr) *View
	Zone *Zone // may be nil

	TCPConns   int           // connections at a time
	TCPClients int           // of these, of one address
	TCPIdle    time.Duration // until one that is silent is closed
	Stats      *Stats
	// Failed is told of a socket that does not work any more. It may be called by
	// several goroutines and must not call Close.
	Failed func(error)
}

// A Server answers on sockets. It is safe for concurrent use.
type Server struct {
	cfg   ServerConfig
	stats *Stats
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	open    map[closer]bool
	conns   int
	clients map[netip.Addr]int
}

type closer interface{ Close() error }

// ForAll is the View of a server that has one client.
func (v *View) ForAll(netip.Addr) *View { return v }

// NewServer returns a server without sockets.
func NewServer(c ServerConfig) *Server {
	c.TCPConns, c.TCPClients = cmp.Or(c.TCPConns, DefaultTCPConns), cmp.Or(c.TCPClients, DefaultTCPClients)
	c.TCPIdle = cmp.Or(c.TCPIdle, DefaultTCPIdle)
	s := &Server{cfg: c, stats: cmp.Or(c.Stats, &Stats{}), open: map[closer]bool{}, clients: map[netip.Addr]int{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends the server and closes its sockets. Nothing of it runs when it returns.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[closer]bool{}
	s.mu.Unlock()
	s.stop()
	var errs []error
	for c := range open {
		errs = append(errs, c.Close())
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// own takes over a socket and runs its goroutine, unless the server is closed: then it
// closes it.
func (s *Server) own(c closer, run func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return net.ErrClosed
	}
	s.open[c] = true
	s.wg.Go(run)
	return nil
}

// disown closes a socket that is done with.
func (s *Server) disown(c closer) {
	s.mu.Lock()
	mine := s.open[c]
	delete(s.open, c)
	s.mu.Unlock()
	if mine {
		c.Close()
	}
}

func (s *Server) failed(what string, addr net.Addr, err error) {
	if s.ctx.Err() == nil && s.cfg.Failed != nil {
		s.cfg.Failed(fmt.Errorf("name server on %s %s: %w", what, addr, err))
	}
}

// view returns who asks.
func (s *Server) view(client netip.Addr) *View {
	if s.cfg.View == nil {
		return nil
	}
	return s.cfg.View(client.Unmap())
}

// A turn is what a goroutine needs to answer one query after the other.
type turn struct {
	q    question
	name [maxName + 2]byte
	out  []byte
}

// respond returns the answer to a query, which is good until the next turn, or what
// others are to be asked for it; both nil: nothing is sent.
func (s *Server) respond(t *turn, v *View, client netip.Addr, msg []byte, stream bool) (answer []byte, p *pending) {
	if v != nil && s.cfg.Zone == nil && t.q.parse(msg, t.name[:]) && isAddress(t.q.qtype) {
		if n := v.answer(msg, t.out, &t.q, stream); n > 0 {
			return t.out[:n], nil
		}
	}
	does, q, m := check(msg, s.stats)
	switch {
	case does == drop:
		return nil, nil
	case does == send:
	case s.cfg.Zone.has(q):
		s.cfg.Zone.answer(q, m, client, s.stats)
	case v == nil:
		refuse(m, s.stats)
	default:
		if p = v.local(q, m, s.stats); p != nil {
			return nil, p
		}
	}
	return pack(m, t.out, limitOf(q, stream), s.stats), nil
}

// limitOf is how long the answer to a query may be.
func limitOf(q *dns.Msg, stream bool) int {
	switch {
	case stream:
		return maxTCP
	case q == nil:
		return minUDP
	}
	return udpSize(q)
}

// ask has others asked in a goroutine of its own, which ends with done; or, where too
// many are, returns the refusal.
func (s *Server) ask(p *pending, stream bool, done func(answer []byte)) (refused []byte) {
	limit := limitOf(p.query, stream)
	if !p.to.acquire() {
		p.answer.Rcode = dns.RcodeRefused
		return pack(p.answer, nil, limit, s.stats)
	}
	s.wg.Go(func() {
		m := p.finish(s.ctx)
		p.to.release()
		done(pack(m, nil, limit, s.stats))
	})
	return nil
}
