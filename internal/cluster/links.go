package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"weft/internal/cnm"
)

// Theory of operation: asking a manager
//
// Any manager can be asked: one that is not the leader passes the question on. A
// member keeps one connection to each manager it has asked, and asks the one that
// answered last first. A manager that cannot be reached costs at most tryTime; then
// the next is asked, until one answers, all have been asked or ctx ends. What asked
// for nothing twice is safe to ask again: every request says by an id what it is
// about.

// tryTime is how long one manager may take to be reached.
const tryTime = 3 * time.Second

// links are a member's connections to managers.
type links struct {
	over   underlay
	mu     sync.Mutex
	conns  map[netip.AddrPort]*grpc.ClientConn
	last   netip.AddrPort // that answered
	closed bool
}

// get returns the connection to a manager, made if there was none. Nothing is sent
// yet.
func (l *links) get(at netip.AddrPort, config func() *tls.Config) (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, net.ErrClosed
	}
	if c := l.conns[at]; c != nil {
		return c, nil
	}
	c, err := dialRPC(l.over, at, protoRPC, config)
	if err != nil {
		return nil, err
	}
	if l.conns == nil {
		l.conns = make(map[netip.AddrPort]*grpc.ClientConn)
	}
	l.conns[at] = c
	return c, nil
}

// order puts the manager that answered last first.
func (l *links) order(managers []netip.AddrPort) []netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]netip.AddrPort, 0, len(managers))
	for _, a := range managers {
		if a == l.last {
			out = append([]netip.AddrPort{a}, out...)
		} else {
			out = append(out, a)
		}
	}
	return out
}

func (l *links) answered(at netip.AddrPort) {
	l.mu.Lock()
	l.last = at
	l.mu.Unlock()
}

// reset closes all connections: the certificate has changed.
func (l *links) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, c := range l.conns {
		c.Close()
		delete(l.conns, at)
	}
}

func (l *links) close() {
	l.reset()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
}

// dialRPC prepares a connection to a control port. It connects when it is used.
func dialRPC(u underlay, at netip.AddrPort, proto string, config func() *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+at.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // TLS is the dialler's
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dialControl(ctx, u, addr, proto, config())
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(jsonCodec{}), grpc.MaxCallRecvMsgSize(maxView), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}, MinConnectTimeout: tryTime,
		}),
		grpc.WithDisableServiceConfig())
}

// retry makes a connection that failed lately be tried at once: what failed then may
// be there now.
func retry(ctx context.Context, conn *grpc.ClientConn) {
	if conn.GetState() != connectivity.TransientFailure {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	conn.ResetConnectBackoff()
	conn.WaitForStateChange(ctx, connectivity.TransientFailure)
}

// ask puts a question to the managers: to this node itself if it is the leader.
func ask[Resp, Req any](ctx context.Context, m *Member, method string, req *Req, local func(*manager, context.Context, caller, *Req) (*Resp, error)) (*Resp, error) {
	if m.manager != nil && m.manager.leads() {
		resp, err := local(m.manager, ctx, caller{m.id, m.role}, req)
		if !errors.Is(err, errNoLeader) {
			return resp, err
		}
	}
	var errs []error
	if m.manager != nil {
		if err := m.manager.store.Trouble(); err != nil {
			errs = append(errs, err) // this node would decide, if it could
		}
	}
	managers := m.links.order(m.View().managers(m.id))
	for _, at := range managers {
		resp, err := askOne[Resp](ctx, m, at, method, req)
		var away *unreachable
		if err == nil || !errors.As(err, &away) {
			m.links.answered(at)
			return resp, err
		}
		errs = append(errs, errors.New("manager "+at.String()+": "+away.why))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, cnm.Errorf(cnm.Unavailable, "%w", lastErr("no manager of the swarm answers", errs))
}

func askOne[Resp, Req any](ctx context.Context, m *Member, at netip.AddrPort, method string, req *Req) (*Resp, error) {
	for {
		conn, err := m.links.get(at, m.clientTLS)
		if err != nil {
			return nil, err
		}
		retry(ctx, conn)
		resp, err := call[Resp](ctx, conn, method, req)
		// A new certificate closes the connections that are there (reset): again.
		if !errors.Is(err, errCut) || ctx.Err() != nil {
			return resp, err
		}
	}
}
