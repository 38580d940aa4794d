package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"weft/internal/cluster/pki"
	"weft/internal/cluster/store"
	"weft/internal/cnm"
)

// onBehalf names, in a call's metadata, the member that a manager passes a request
// on for, as NODE ROLE; empty for a stranger that joins.
const onBehalf = "weft-on-behalf-of"

// memberService lists what members may ask for.
func memberService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			member("Allocate", (*manager).allocate), member("Release", (*manager).release),
			member("CreateNetwork", (*manager).createNetwork), member("RemoveNetwork", (*manager).removeNetwork),
			member("Renew", (*manager).renew), member("Announce", (*manager).announce),
			member("UpdateSwarm", (*manager).updateSwarm), member("UpdateNode", (*manager).updateNode),
			member("RemoveNode", (*manager).removeNode), member("Join", (*manager).admit),
		},
		Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, Handler: func(srv any, s grpc.ServerStream) error { return srv.(*manager).watch(s) }}},
	}
}

// joinService lists what strangers may ask for.
func joinService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("Join", func(g *manager, ctx context.Context, req *joinRequest) (*joinResponse, error) {
			resp, err := passOn(ctx, g, "Join", caller{}, req, (*manager).admit)
			switch {
			case errors.Is(err, cnm.Forbidden):
				g.m.refused.note(refusedToken, fromOf(ctx), err)
			case errors.Is(err, cnm.Invalid), errors.Is(err, cnm.Conflict):
				g.m.refused.note(refusedJoin, fromOf(ctx), err)
			}
			return resp, err
		})},
	}
}

// member describes a method that the leader carries out for whoever asks.
func member[Req, Resp any](name string, do func(*manager, context.Context, caller, *Req) (*Resp, error)) grpc.MethodDesc {
	return unary(name, func(g *manager, ctx context.Context, req *Req) (*Resp, error) {
		who, passed, err := g.whoAsks(ctx)
		if err != nil {
			return nil, err
		}
		if passed {
			return do(g, ctx, who, req)
		}
		return passOn(ctx, g, name, who, req, do)
	})
}

// whoAsks returns the member a request is from, and whether a manager passed it on.
func (g *manager) whoAsks(ctx context.Context) (who caller, passed bool, err error) {
	if who, err = callerOf(ctx); err != nil {
		return who, false, err
	}
	n, known := g.node(who.Node)
	if !known {
		if err := g.current(ctx); err != nil {
			return who, false, err
		}
		n, known = g.node(who.Node)
	}
	if !known {
		err := gone(who.Node)
		g.m.refused.note(refusedRemoved, fromOf(ctx), err)
		return who, false, err
	}
	who.Role = n.Spec.Role // the certificate may be of another time
	md, _ := metadata.FromIncomingContext(ctx)
	on := md.Get(onBehalf)
	if len(on) == 0 {
		return who, false, nil
	}
	if who.Role != cnm.Manager {
		err := cnm.Errorf(cnm.Forbidden, "node %s is no manager and cannot speak for others", who.Node)
		g.m.refused.note(refusedRole, fromOf(ctx), err)
		return who, false, err
	}
	who = caller{}
	if _, err := fmt.Sscanf(on[0], "%s %s", &who.Node, &who.Role); err != nil && on[0] != "" {
		return who, false, cnm.Errorf(cnm.Invalid, "request of %q", on[0])
	}
	return who, true, nil
}

// current returns when this manager's copy holds all that was agreed on before the
// call, if it leads. One that has just started, or has just become the leader, knows
// less, and must not say of a member that it is none, nor of a token that it is wrong.
func (g *manager) current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	if g.leads() {
		if err := g.store.CatchUp(ctx); err != nil {
			return fmt.Errorf("%w: %w", errNoLeader, err)
		}
	}
	if g.cluster().ID == "" {
		return errNoLeader
	}
	return nil
}

// gone is the answer to a node that was removed.
func gone(node string) error {
	return cnm.Errorf(cnm.Forbidden, "node %s is no longer part of the swarm: it must leave and join again", node)
}

// passOn carries a request out here or, once, at the leader.
func passOn[Req, Resp any](ctx context.Context, g *manager, method string, who caller, req *Req, do func(*manager, context.Context, caller, *Req) (*Resp, error)) (*Resp, error) {
	if g.leads() {
		return do(g, ctx, who, req)
	}
	at, ok := g.leaderAddr()
	if !ok {
		if err := g.store.Trouble(); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoLeader, err)
		}
		return nil, errNoLeader
	}
	of := ""
	if who.Node != "" {
		of = who.Node + " " + string(who.Role)
	}
	resp, err := askOne[Resp](metadata.AppendToOutgoingContext(ctx, onBehalf, of), g.m, at, method, req)
	var away *unreachable
	if errors.As(err, &away) {
		return nil, fmt.Errorf("%w: the leader at %s: %s", errNoLeader, at, away.why)
	}
	return resp, err
}

// node returns a member by id.
func (g *manager) node(id string) (store.Node, bool) { return g.store.State().Nodes.Get(id) }

func (g *manager) cluster() store.Cluster { return g.store.State().Cluster }

// admit makes a node a member: the secret says in which role.
func (g *manager) admit(ctx context.Context, _ caller, req *joinRequest) (*joinResponse, error) {
	if err := g.current(ctx); err != nil {
		return nil, err
	}
	c := g.cluster()
	role, err := roleOf(&c, req.Secret)
	if err != nil {
		return nil, err
	}
	if old, known := g.node(req.Node.ID); known && (old.Certificate.Key != keyOf(req.CSR) || old.Spec.Role != role) {
		return nil, cnm.Errorf(cnm.Conflict, "node %s (%s) is a member of the swarm already", old.ID, old.Name())
	} // else it did not hear the answer: the same key is given the same again
	if err := checkNode(&req.Node, role); err != nil {
		return nil, err
	}
	req.Node.Spec = cnm.NodeSpec{Role: role, Availability: req.Node.Spec.Availability}
	chain, cert, err := issue(&c, req.CSR, pki.Subject{Node: req.Node.ID, Cluster: c.ID, Role: pki.Role(role)}, g.m.cfg.now())
	if err != nil {
		return nil, err
	}
	if role == cnm.Worker {
		req.Node.Control = netip.AddrPort{} // it will not listen
	}
	n := putNode(&req.Node, cert, g.m.cfg.now())
	n.Unique = true
	if _, err := g.apply(ctx, n); err != nil {
		return nil, err
	}
	return &joinResponse{Role: role, Chain: chain, View: g.view()}, nil
}

// roleOf returns what a token's secret makes of a node.
func roleOf(c *store.Cluster, secret string) (cnm.Role, error) {
	t, err := pki.ParseSecret(secret)
	if err != nil {
		return "", err
	}
	for role, have := range map[cnm.Role]string{cnm.Worker: c.Secrets.Worker, cnm.Manager: c.Secrets.Manager} {
		if s, err := pki.ParseSecret(have); err == nil && s.Equal(t) {
			return role, nil
		}
	}
	return "", cnm.Errorf(cnm.Forbidden, "the token's secret is not the swarm's: it may have been replaced; \"weft swarm join-token worker\" on a manager prints the present one")
}

// issue makes a node's certificate, with what a rotation of the root needs behind it.
func issue(c *store.Cluster, csr []byte, s pki.Subject, now time.Time) (chain []byte, cert store.Certificate, err error) {
	if len(c.Roots) == 0 {
		return nil, cert, errors.New("the swarm has no root certificate")
	}
	root, err := pki.ParseRoot(c.Roots[0].Certificate, c.Roots[0].Key)
	if err != nil {
		return nil, cert, err
	}
	chain, err = root.Issue(csr, s, now, c.Spec.CertExpiry)
	if err != nil {
		return nil, cert, cnm.Errorf(cnm.Invalid, "%w", err)
	}
	block, _ := pem.Decode(chain)
	made, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, cert, err
	}
	return append(chain, c.Roots[0].Cross...), record(made, s.Role, c.Roots[0].Certificate, now), nil
}

// record is what the managers keep of a certificate.
func record(c *x509.Certificate, role pki.Role, root []byte, now time.Time) store.Certificate {
	return store.Certificate{
		Serial: c.SerialNumber.Text(16), Issued: now, Expires: c.NotAfter, Manager: role == pki.Manager,
		Root: digest(root), Key: digest(c.RawSubjectPublicKeyInfo),
	}
}

// keyOf is a Certificate.Key by the request for it; "" of what is none.
func keyOf(csr []byte) string {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return ""
	}
	return digest(r.RawSubjectPublicKeyInfo)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// renew gives a member a new certificate, in the role it has now.
func (g *manager) renew(ctx context.Context, who caller, req *renewRequest) (*renewResponse, error) {
	n, ok := g.node(who.Node)
	if !ok {
		return nil, cnm.Errorf(cnm.NotFound, "node %s is not part of the swarm", who.Node)
	}
	c := g.cluster()
	chain, cert, err := issue(&c, req.CSR, pki.Subject{Node: n.ID, Cluster: c.ID, Role: pki.Role(n.Spec.Role)}, g.m.cfg.now())
	if err != nil {
		return nil, err
	}
	if _, err := g.apply(ctx, store.PutCertificate{ID: n.ID, Certificate: cert, Now: g.m.cfg.now()}); err != nil {
		return nil, err
	}
	return &renewResponse{Chain: chain, Roots: g.view().Roots}, nil
}

// announce notes what a member says of itself now.
func (g *manager) announce(ctx context.Context, who caller, req *nodeRequest) (*none, error) {
	n, ok := g.node(who.Node)
	if !ok {
		return nil, cnm.Errorf(cnm.NotFound, "node %s is not part of the swarm", who.Node)
	}
	if err := checkNode(&req.Node, n.Spec.Role); err != nil {
		return nil, err
	}
	// Spec and certificate of a node that is known stay. One that was removed this
	// moment is not made anew: it has none.
	req.Node.ID, req.Node.Spec = n.ID, cnm.NodeSpec{}
	now := putNode(&req.Node, store.Certificate{}, g.m.cfg.now())
	if n.Spec.Role != cnm.Manager {
		now.Control = netip.AddrPort{}
	}
	_, err := g.apply(ctx, now)
	return &none{}, err
}

func putNode(n *Node, cert store.Certificate, now time.Time) store.PutNode {
	return store.PutNode{
		ID: n.ID, Spec: n.Spec, Hostname: n.Hostname, Addr: n.Gossip.Addr(), Control: n.Control, Gossip: n.Gossip, DataPath: n.DataPath,
		Certificate: cert, Now: now,
	}
}

// allocate gives an endpoint its addresses.
func (g *manager) allocate(ctx context.Context, who caller, w *Want) (*leaseResponse, error) {
	r, err := g.apply(ctx, store.AllocateEndpoint{ID: w.Endpoint, Network: w.Network, Node: who.Node, IPv4: w.IPv4, IPv6: w.IPv6})
	if err != nil {
		return nil, err
	}
	return &leaseResponse{r.Endpoint.IPv4, r.Endpoint.IPv6}, nil
}

// release gives addresses back; a node can give back only its own.
func (g *manager) release(ctx context.Context, who caller, req *releaseRequest) (*releaseResponse, error) {
	switch {
	case req.Keep && req.Before == 0:
		if err := g.store.Barrier(ctx); err != nil {
			return nil, leaderless(err)
		}
	case req.Keep:
		if _, err := g.apply(ctx, store.ReleaseNode{Node: who.Node, Except: req.Endpoints, Before: req.Before}); err != nil {
			return nil, err
		}
	default:
		for _, id := range req.Endpoints {
			if _, err := g.apply(ctx, store.ReleaseEndpoint{ID: id, Node: who.Node}); err != nil {
				return nil, err
			}
		}
	}
	return &releaseResponse{g.store.State().Version}, nil
}

func (g *manager) createNetwork(ctx context.Context, _ caller, req *networkRequest) (*networkRequest, error) {
	r, err := g.apply(ctx, store.CreateNetwork{Network: req.Network})
	if err != nil {
		return nil, err
	}
	return &networkRequest{r.Network.Network}, nil
}

func (g *manager) removeNetwork(ctx context.Context, _ caller, req *networkRequest) (*none, error) {
	_, err := g.apply(ctx, store.RemoveNetwork{ID: req.Network.ID})
	return &none{}, err
}

// forManagers is the answer to a worker that asks for what only managers may.
func forManagers(who caller) error {
	if who.Role == cnm.Manager {
		return nil
	}
	return cnm.Errorf(cnm.Unavailable, "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.")
}

// watch sends a member its view, now, after each change and every repeatTime.
func (g *manager) watch(s grpc.ServerStream) error {
	var req watchRequest
	if err := s.RecvMsg(&req); err != nil {
		return err
	}
	wasRead(s.Context())
	who, _, err := g.whoAsks(s.Context())
	if err != nil {
		return toStatus(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	defer context.AfterFunc(g.m.ctx, cancel)()
	return g.feed(ctx, repeatTime, func(v *View) error {
		if v.node(who.Node) == nil { // removed since: what comes now, the gossip's next key too, is not for it
			return toStatus(gone(who.Node))
		}
		return s.SendMsg(v)
	})
}
