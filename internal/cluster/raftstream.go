package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// Theory of operation: who replicates
//
// The handshake has proven that the other end has a manager's certificate. That is
// not enough: certificates outlive the role, and the node. A connection is accepted
// if the node is a manager by the last view, or is one the view does not know (it
// may have come later than that) and is not among those that were removed. Views
// come and go while connections stand: with each, those that would be accepted no
// longer are closed.

// A raftStream carries the managers' replication over the control port.
type raftStream struct {
	m    *Member
	lane *lane

	mu   sync.Mutex
	open map[*raftConn]struct{} // accepted
}

// A raftConn is a connection that another manager opened.
type raftConn struct {
	net.Conn
	of   *raftStream
	peer string // node id
}

func newRaftStream(m *Member, l *lane) *raftStream {
	return &raftStream{m: m, lane: l, open: make(map[*raftConn]struct{})}
}

var errNoManager = errors.New("the node is no manager of the swarm, or no longer one")

// Accept implements [store.StreamLayer].
func (s *raftStream) Accept() (net.Conn, error) {
	for {
		c, err := s.lane.Accept()
		if err != nil {
			return nil, err
		}
		t, ok := c.(*authenticated)
		if !ok {
			c.Close()
			continue
		}
		peer, err := pki.PeerSubject(t.ConnectionState())
		if err == nil {
			if r := s.admit(c, peer.Node); r != nil {
				return r, nil
			}
			err = errNoManager
		}
		s.m.refused.note(refusedRemoved, c.RemoteAddr(), err)
		c.Close()
	}
}

// admit notes a connection of a manager; nil: the node is none.
func (s *raftStream) admit(c net.Conn, node string) *raftConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.m.trustsManager(node) {
		return nil
	}
	r := &raftConn{c, s, node}
	s.open[r] = struct{}{}
	return r
}

// prune closes the connections of those who are managers no longer. It follows each
// new view.
func (s *raftStream) prune() {
	s.mu.Lock()
	var gone []*raftConn
	for r := range s.open {
		if !s.m.trustsManager(r.peer) {
			gone = append(gone, r)
		}
	}
	s.mu.Unlock()
	for _, r := range gone {
		s.m.refused.note(refusedRemoved, r.RemoteAddr(), errNoManager)
		r.Close()
	}
}

// Close closes the connection.
func (r *raftConn) Close() error {
	r.of.mu.Lock()
	delete(r.of.open, r)
	r.of.mu.Unlock()
	return r.Conn.Close()
}

// Close implements [store.StreamLayer].
func (s *raftStream) Close() error { return s.lane.Close() }

// Dial implements [store.StreamLayer].
func (s *raftStream) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.m.ctx, timeout)
	defer cancel()
	return dialControl(ctx, s.m.cfg.over(), addr, protoRaft, s.m.clientTLS())
}

// trustsManager reports whether a node is a manager by all this node knows.
func (m *Member) trustsManager(id string) bool {
	v := m.View()
	if n := v.node(id); n != nil {
		return n.Spec.Role == cnm.Manager || n.Voter
	}
	return !v.removed(id)
}
