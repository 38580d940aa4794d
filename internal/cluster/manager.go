package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// Theory of operation: a manager
//
// A manager holds a copy of the store, serves the control port and, while it leads,
// decides. What a member asks for is done by the leader: handlers (handlers.go) that
// find themselves elsewhere pass the request on, once, over the member's own links,
// with the name of who asked. Only managers may pass on, and only what a member may
// ask for in its own name.
//
// Close ends the servers first, so that nobody asks a store that is closed.

// A manager is what a member has besides if it is one.
type manager struct {
	m     *Member
	store *store.Store
	port  *controlPort
	rpc   *grpc.Server // of members
	join  *grpc.Server // of those who want to be one
	wg    sync.WaitGroup
}

// A caller is who asks.
type caller struct {
	Node string
	Role cnm.Role
}

// startManager opens the store, with this node as its only voter if first, and
// serves the control port.
func (m *Member) startManager(first bool) (*manager, error) {
	g := &manager{m: m}
	port, err := listenControl(m.cfg.listenAddr(), m.serverTLS(), m.log)
	if err != nil {
		return nil, err
	}
	g.port = port
	g.store, err = store.Open(store.Config{
		Dir: m.cfg.raftDir(), NodeID: m.id, Bootstrap: first, Log: m.log,
		Stream: &raftStream{m: m, lane: port.lanes[protoRaft]}, Address: m.self().Control.String(),
	})
	if err != nil {
		port.Close()
		return nil, err
	}
	alive := grpc.KeepaliveParams(keepalive.ServerParameters{Time: idleTime, Timeout: tryTime})
	g.rpc = grpc.NewServer(grpc.Creds(handshaken{}), grpc.ForceServerCodec(jsonCodec{}), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxView), alive)
	g.rpc.RegisterService(memberService(), g)
	g.join = grpc.NewServer(grpc.Creds(handshaken{}), grpc.ForceServerCodec(jsonCodec{}), grpc.MaxRecvMsgSize(64<<10), alive)
	g.join.RegisterService(joinService(), g)
	g.wg.Go(func() { g.rpc.Serve(port.lanes[protoRPC]) })
	g.wg.Go(func() { g.join.Serve(port.lanes[protoJoin]) })
	return g, nil
}

func (g *manager) close() {
	g.rpc.Stop()
	g.join.Stop()
	g.store.Close()
	g.port.Close()
	g.wg.Wait()
}

// leads reports whether this node is the leader.
func (g *manager) leads() bool { return g.store.IsLeader() }

// leader returns the leader's id, "" if there is none.
func (g *manager) leader() string {
	id, _ := g.store.Leader()
	return id
}

// feed gives the view of this manager's copy to accept, whenever it changes.
func (g *manager) feed(ctx context.Context, accept func(*View)) {
	for {
		changed := g.store.Changed()
		if v := g.view(); v != nil {
			accept(v)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// apply has the store agree on a command, with errors as a user should see them.
func (g *manager) apply(ctx context.Context, c store.Command) (any, error) {
	r, err := g.store.Apply(ctx, c)
	var not *store.NotLeaderError
	if errors.As(err, &not) {
		return nil, errNoLeader
	}
	return r, err
}

// A raftStream carries the managers' replication over the control port.
type raftStream struct {
	m    *Member
	lane *lane
}

// Accept implements [net.Listener].
func (s *raftStream) Accept() (net.Conn, error) { return s.lane.Accept() }

// Close implements [net.Listener].
func (s *raftStream) Close() error { return nil }

// Addr implements [net.Listener]: where the others find this manager.
func (s *raftStream) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(s.m.self().Control)
}

// Dial implements [raft.StreamLayer].
func (s *raftStream) Dial(at raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.m.ctx, timeout)
	defer cancel()
	return dialControl(ctx, string(at), protoRaft, s.m.clientTLS())
}

// credentials are what handshakes ask for.
func (m *Member) credentials() pki.Credentials {
	return pki.Credentials{Identity: m.identity.Load, Now: time.Now}
}

// clientTLS is for asking managers.
func (m *Member) clientTLS() *tls.Config {
	return m.credentials().Client(pki.Peer{Roles: []pki.Role{pki.Manager}})
}

// serverTLS serves all protocols of the control port: what must be proven depends
// on the one that the client wants.
func (m *Member) serverTLS() *tls.Config {
	c := m.credentials()
	of := map[string]*tls.Config{protoRaft: c.Server(pki.Manager), protoRPC: c.Server(), protoJoin: c.JoinServer()}
	for proto, conf := range of {
		conf.NextProtos = []string{proto}
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(h.SupportedProtos) == 1 && of[h.SupportedProtos[0]] != nil {
			return of[h.SupportedProtos[0]], nil
		}
		return nil, fmt.Errorf("it asks for protocols %q, which are none of a swarm's", h.SupportedProtos)
	}}
}

// callerOf returns who is at the other end of a call.
func callerOf(ctx context.Context) (caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, errors.New("a call of nobody")
	}
	info, ok := p.AuthInfo.(peerInfo)
	if !ok {
		return caller{}, errors.New("a call without a certificate")
	}
	s, err := pki.PeerSubject(info.ConnectionState())
	if err != nil {
		return caller{}, err
	}
	return caller{Node: s.Node, Role: cnm.Role(s.Role)}, nil
}
