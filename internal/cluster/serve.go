package cluster

import (
	"context"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// The bounds of calls. A stranger asks one small thing and goes.
const (
	maxJoin       = 64 << 10 // bytes of a message of a stranger
	maxHeader     = 16 << 10 // bytes of a call's metadata
	memberStreams = 32       // calls at a time on one connection
	joinStreams   = 2
)

// prepareCalls makes the servers of members and of those who want to be some.
func (g *manager) prepareCalls() {
	options := func(streams uint32, most int, alive keepalive.ServerParameters) []grpc.ServerOption {
		alive.Time, alive.Timeout = idleTime, tryTime
		return []grpc.ServerOption{
			grpc.Creds(handshaken{}), grpc.ForceServerCodec(jsonCodec{}), grpc.KeepaliveParams(alive),
			grpc.ConnectionTimeout(handshakeTime), grpc.MaxHeaderListSize(maxHeader), grpc.MaxConcurrentStreams(streams),
			grpc.MaxRecvMsgSize(most), grpc.MaxSendMsgSize(maxView), grpc.StatsHandler(callWatch{g.m.refused}),
			grpc.UnknownServiceHandler(g.unknownCall),
		}
	}
	g.rpc = grpc.NewServer(options(memberStreams, maxMessage, keepalive.ServerParameters{})...)
	g.rpc.RegisterService(memberService(), g)
	stranger := keepalive.ServerParameters{MaxConnectionIdle: 2 * handshakeTime, MaxConnectionAge: idleTime, MaxConnectionAgeGrace: handshakeTime}
	g.join = grpc.NewServer(options(joinStreams, maxJoin, stranger)...)
	g.join.RegisterService(joinService(), g)
}

// unknownCall answers a method that is none.
func (g *manager) unknownCall(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	return status.Errorf(codes.Unimplemented, "method %.100q is not known to this manager: is it older than who asks?", method)
}

// A callWatch counts the calls that end before a handler sees what they ask: too
// big, unreadable, or of an unknown method.
type callWatch struct{ refused *refusals }

// HandleRPC implements [stats.Handler].
func (w callWatch) HandleRPC(ctx context.Context, s stats.RPCStats) {
	end, ok := s.(*stats.End)
	if read, _ := ctx.Value(callKey{}).(*atomic.Bool); !ok || end.Error == nil || read == nil || read.Load() {
		return
	}
	switch status.Code(end.Error) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable: // it went before it had asked
	default:
		w.refused.note(refusedMessage, fromOf(ctx), end.Error)
	}
}

// callKey is what a call's context says by whether its request was read.
type callKey struct{}

// TagRPC implements [stats.Handler].
func (callWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, callKey{}, new(atomic.Bool))
}

// wasRead notes that a call's request was read.
func wasRead(ctx context.Context) {
	if read, ok := ctx.Value(callKey{}).(*atomic.Bool); ok {
		read.Store(true)
	}
}

// TagConn implements [stats.Handler].
func (callWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (callWatch) HandleConn(context.Context, stats.ConnStats) {}

// fromOf returns the address a call came from.
func fromOf(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
