package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
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
// Each handshake has a goroutine and handshakeTime; more than maxHandshakes at a
// time wait in the kernel's queue. A connection that has shaken hands goes to the
// listener of its protocol, which is a lane. Closing the port closes the lanes;
// Close returns when no goroutine of the port is left.

// The protocols of the control port.
const (
	protoRaft = "weft-raft/1"
	protoRPC  = "weft-rpc/1"
	protoJoin = "weft-join/1"
)

const (
	handshakeTime = 5 * time.Second
	maxHandshakes = 64
)

// A controlPort listens for members, managers and those who want to be one.
type controlPort struct {
	listener net.Listener
	config   *tls.Config
	log      *slog.Logger
	lanes    map[string]*lane
	places   chan struct{} // one token for each handshake under way
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
	refused  refusals
}

// An authenticated is a connection that has shaken hands.
type authenticated struct{ *tls.Conn }

// listenControl serves a port. config says, by protocol, what the peer must prove.
func listenControl(u underlay, addr string, config *tls.Config, log *slog.Logger) (*controlPort, error) {
	l, err := u.listen(addr)
	if err != nil {
		return nil, fmt.Errorf("control port: %w", err)
	}
	p := &controlPort{
		listener: l, config: config, log: log, places: make(chan struct{}, maxHandshakes),
		lanes: make(map[string]*lane), refused: refusals{every: time.Minute},
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, proto := range []string{protoRaft, protoRPC, protoJoin} {
		p.lanes[proto] = &lane{conns: make(chan net.Conn), done: p.ctx.Done(), closed: make(chan struct{}), addr: l.Addr()}
	}
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
		select {
		case p.places <- struct{}{}:
		case <-p.ctx.Done():
			return
		}
		c, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			<-p.places
			p.log.Error("accept on the control port", "error", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		p.wg.Go(func() {
			defer func() { <-p.places }()
			p.welcome(c)
		})
	}
}

// welcome shakes hands and hands the connection on.
func (p *controlPort) welcome(c net.Conn) {
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTime)
	defer cancel()
	t := tls.Server(c, p.config)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		if p.ctx.Err() == nil {
			p.refused.note(p.log, c.RemoteAddr(), err)
		}
		return
	}
	l := p.lanes[t.ConnectionState().NegotiatedProtocol]
	if l == nil {
		c.Close()
		p.refused.note(p.log, c.RemoteAddr(), errors.New("no protocol was agreed on"))
		return
	}
	select {
	case l.conns <- &authenticated{t}:
	case <-p.ctx.Done():
		c.Close()
	case <-ctx.Done():
		c.Close() // nobody serves the protocol here
	}
}

// A lane is the listener of one protocol.
type lane struct {
	conns  chan net.Conn
	done   <-chan struct{} // the port's end
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
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
	if err != nil {
		return nil, err
	}
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

// A refusals counts what was turned away and logs one of it now and then: who
// knocks again and again does not fill the log.
type refusals struct {
	every time.Duration
	mu    sync.Mutex
	n     uint64
	last  time.Time
}

func (r *refusals) note(log *slog.Logger, from net.Addr, err error) {
	r.mu.Lock()
	r.n++
	n, quiet := r.n, time.Since(r.last) < r.every
	if !quiet {
		r.last = time.Now()
	}
	r.mu.Unlock()
	if !quiet {
		log.Warn("refused on the control port", "from", from, "error", err, "refused so far", n)
	}
}
