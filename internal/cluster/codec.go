package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"weft/internal/cnm"
)

// Theory of operation: remote calls
//
// gRPC carries the calls between nodes, with JSON for messages, which are few and
// small, so that no code is generated (docs/decisions/0011). TLS is not gRPC's: the
// control port has shaken hands before it hands a connection over, and the peer's
// certificate comes along as what a call's context says of its peer.

// maxMessage bounds one message, in bytes.
const maxMessage = 4 << 20

// serviceName is what all methods belong to.
const serviceName = "weft.Cluster"

// A jsonCodec writes messages as JSON.
type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
func (jsonCodec) Name() string                       { return "json" }

// A handshaken is the transport security of a connection that has it already.
type handshaken struct {
	credentials.TransportCredentials
}

// ServerHandshake implements [credentials.TransportCredentials].
func (handshaken) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t, ok := c.(*authenticated)
	if !ok {
		return nil, nil, errors.New("cluster: connection without a handshake")
	}
	return c, peerInfo{t}, nil
}

// Info implements [credentials.TransportCredentials].
func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements [credentials.TransportCredentials].
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// A peerInfo is who called.
type peerInfo struct{ *authenticated }

// AuthType implements [credentials.AuthInfo].
func (peerInfo) AuthType() string { return "tls" }

// unary describes a method of one request and one answer.
func unary[S, Req, Resp any](name string, handle func(S, context.Context, *Req) (*Resp, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		req := new(Req)
		if err := decode(req); err != nil {
			return nil, err // gRPC has answered already
		}
		wasRead(ctx)
		resp, err := handle(srv.(S), ctx, req)
		if err != nil {
			return nil, toStatus(err)
		}
		return resp, nil
	}}
}

// call asks for an answer.
func call[Resp, Req any](ctx context.Context, conn *grpc.ClientConn, method string, req *Req) (*Resp, error) {
	resp := new(Resp)
	if err := conn.Invoke(ctx, "/"+serviceName+"/"+method, req, resp); err != nil {
		return nil, fromStatus(err)
	}
	return resp, nil
}

// kinds are the kinds of error that cross the wire as what they are.
func kinds() map[codes.Code]cnm.Kind {
	return map[codes.Code]cnm.Kind{
		codes.InvalidArgument: cnm.Invalid, codes.NotFound: cnm.NotFound, codes.AlreadyExists: cnm.Conflict,
		codes.PermissionDenied: cnm.Forbidden, codes.ResourceExhausted: cnm.Unavailable, codes.Unimplemented: cnm.Unsupported,
	}
}

// toStatus gives an error the code of its kind.
func toStatus(err error) error {
	if errors.Is(err, errNoLeader) { // whatever the reason: another manager may know one
		return status.Error(codes.Unavailable, err.Error())
	}
	for code, kind := range kinds() {
		if errors.Is(err, kind) {
			return status.Error(code, err.Error())
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// fromStatus gives an error back the kind it had.
func fromStatus(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if kind, ok := kinds()[s.Code()]; ok {
		return cnm.Errorf(kind, "%s", s.Message())
	}
	switch s.Code() {
	case codes.Canceled:
		return fmt.Errorf("%w: %s", errCut, s.Message())
	case codes.Unavailable:
		return &unreachable{plain(s.Message())}
	case codes.DeadlineExceeded:
		return &unreachable{"no answer in time"}
	}
	return errors.New(s.Message())
}

// plain takes what gRPC puts around an error of ours.
func plain(text string) string {
	if _, inner, ok := strings.Cut(text, "transport: Error while dialing: "); ok {
		return strings.TrimSuffix(inner, `"`)
	}
	return text
}

// errCut is the end of a call whose connection this node has closed under it, or that
// its own caller gave up.
var errCut = errors.New("the call was cut short")

// errNoLeader is the answer of a manager that knows no leader it could ask.
var errNoLeader = errors.New("the managers have no leader now")

// An unreachable is the failure to get an answer from a manager: another one may
// give it.
type unreachable struct{ why string }

// Error implements error.
func (e *unreachable) Error() string { return e.why }
