package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// Theory of operation: the control port
//
// One TCP port carries three protocols, told apart in the TLS handshake (ALPN, RFC
// 7301):
//
//	weft-raft/1  the managers' replication; both sides prove to be managers
//	weft-rpc/1   calls of members; both sides prove to be members
//	weft-join/1  calls of who has no certificate yet; only the manager proves itself
//
// Each handshake has a goroutine and handshakeTime. There are maxHandshakes at a
// time: when all places are taken, the oldest handshake that has had slowTime gives
// its place, so that those who connect and say nothing keep nobody out. A connection
// that has shaken hands goes to the listener of its protocol, which is a lane. Of
// strangers, who want to join, there are maxStrangers at a time. Closing the port
// closes the lanes; Close returns when no goroutine of the port is left.

// The protocols of the control port.
const (
	protoRaft = "weft-raft/1"
	protoRPC  = "weft-rpc/1"
	protoJoin = "weft-join/1"
)

const (
	handshakeTime = 5 * time.Second
	slowTime      = 250 * time.Millisecond
	maxHandshakes = 64
	maxStrangers  = 64
)

var (
	errProtocol = errors.New("no protocol of a swarm's control port")
	errSlow     = errors.New("the handshake lasted too long, and others waited")
	errCrowd    = errors.New("too many who are no members are connected at a time")
)

// A controlPort listens for members, managers and those who want to be one.
type controlPort struct {
	listener net.Listener
	config   *tls.Config
	log      *slog.Logger
	lanes    map[string]*lane
	places   *handshakes
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
	refused  *refusals
}

// An authenticated is a connection that has shaken hands.
type authenticated struct {
	*tls.Conn
	left func() // gives the lane's place back, once
}

// Close closes the connection.
func (a *authenticated) Close() error {
	a.left()
	return a.Conn.Close()
}

// listenControl serves a port. config says, by protocol, what the peer must prove.
func listenControl(u underlay, addr string, config *tls.Config, refused *refusals) (*controlPort, error) {
	l, err := u.listen(addr)
	if err != nil {
		return nil, fmt.Errorf("the control port cannot be listened on: %w: stop who has it, or choose another with --control-port", err)
	}
	p := &controlPort{
		listener: l, config: config, log: refused.log, places: newHandshakes(),
		lanes: make(map[string]*lane), refused: refused,
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, proto := range []string{protoRaft, protoRPC, protoJoin} {
		p.lanes[proto] = &lane{conns: make(chan net.Conn), done: p.ctx.Done(), closed: make(chan struct{}), addr: l.Addr()}
	}
	p.lanes[protoJoin].places = make(chan struct{}, maxStrangers)
	p.wg.Go(p.accept)
	return p, nil
}

// Close ends the port and every handshake.
func (p *controlPort) Close() error {
	p.stop()
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

func (p *controlPort) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			p.log.Error("accept on the control port", "error", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		h := p.places.begin(p.ctx, c)
		if h == nil {
			c.Close()
			return
		}
		p.wg.Go(func() {
			defer p.places.end(h)
			p.welcome(h)
		})
	}
}

// welcome shakes hands and hands the connection on.
func (p *controlPort) welcome(h *handshake) {
	c := h.conn
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTime)
	defer cancel()
	t := tls.Server(c, p.config)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		if p.ctx.Err() == nil {
			if h.pushed.Load() {
				err = errSlow
			}
			p.refused.note(reasonOf(err), c.RemoteAddr(), err)
		}
		return
	}
	l := p.lanes[t.ConnectionState().NegotiatedProtocol]
	if l == nil {
		c.Close()
		p.refused.note(refusedProtocol, c.RemoteAddr(), errProtocol)
		return
	}
	if !l.enter() {
		c.Close()
		p.refused.note(refusedCrowd, c.RemoteAddr(), errCrowd)
		return
	}
	a := &authenticated{t, sync.OnceFunc(l.leave)}
	select {
	case l.conns <- a:
	case <-p.ctx.Done():
		a.Close()
	case <-ctx.Done():
		a.Close() // nobody serves the protocol here
	}
}

// A lane is the listener of one protocol.
type lane struct {
	conns  chan net.Conn
	done   <-chan struct{} // the port's end
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
	places chan struct{} // one token for each connection; nil: there is no bound
}

// enter takes a place and reports whether there was one.
func (l *lane) enter() bool {
	if l.places == nil {
		return true
	}
	select {
	case l.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *lane) leave() {
	if l.places != nil {
		<-l.places
	}
}

// Accept implements [net.Listener].
func (l *lane) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. The port goes on without the protocol.
func (l *lane) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l *lane) Addr() net.Addr { return l.addr }

// dialControl opens a connection to a manager's control port.
func dialControl(ctx context.Context, u underlay, addr, proto string, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	config = config.Clone()
	config.NextProtos = []string{proto}
	c, err := u.dial(ctx, addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: no manager listens there, and a worker never does", err)
	}
	if err != nil {
		return nil, err
	}
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		if other := (tls.RecordHeaderError{}); errors.As(err, &other) {
			err = fmt.Errorf("%w: this is not the control port of a manager", err)
		}
		return nil, err
	}
	return t, nil
}
