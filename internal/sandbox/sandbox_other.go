//go:build !linux

package sandbox

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"

	"weft/tap"
)

// An Agent is the daemon's handle on one sandbox; only Linux has any.
type Agent struct{}

// An Attachment is a client of the main process's streams.
type Attachment struct{}

// An Exec is a further process of a sandbox.
type Exec struct {
	Number   uint64
	PID      int
	Terminal *os.File
}

// A ForeignNS is a network namespace made by somebody else.
type ForeignNS struct{}

// ErrLagging ends a lossy attachment that did not keep up.
var ErrLagging = ErrUnsupported

// Main says that namespaces need Linux.
func Main([]string) int {
	os.Stderr.WriteString(ErrUnsupported.Error() + "\n")
	return 1
}

// Launch returns [ErrUnsupported], as every function below.
func Launch(context.Context, Config) (*Agent, error) { return nil, ErrUnsupported }

// Connect returns [ErrUnsupported].
func Connect(context.Context, string) (*Agent, error) { return nil, ErrUnsupported }

// OpenForeign returns [ErrUnsupported].
func OpenForeign(context.Context, ForeignConfig) (*ForeignNS, error) { return nil, ErrUnsupported }

// The methods of types of which there are no values here.

func (*Agent) AddInterface(context.Context, Interface) (*tap.Device, error) {
	return nil, ErrUnsupported
}
func (*Agent) Attach(context.Context, AttachOptions) (*Attachment, error) {
	return nil, ErrUnsupported
}
func (*Agent) Close() error                                            { return ErrUnsupported }
func (*Agent) Exec(context.Context, Process, Stdio) (*Exec, error)     { return nil, ErrUnsupported }
func (*Agent) Interfaces(context.Context, tap.Rung) ([]Adopted, error) { return nil, ErrUnsupported }
func (*Agent) Kill(context.Context) error                              { return ErrUnsupported }
func (*Agent) Names(context.Context) (net.PacketConn, net.Listener, error) {
	return nil, nil, ErrUnsupported
}
func (*Agent) Dial(context.Context, string, string) (net.Conn, error) { return nil, ErrUnsupported }
func (*Agent) NetNS() string                                          { return "" }
func (*Agent) OpenExec(uint64) *Exec                                  { return nil }
func (*Agent) PID() int                                               { return 0 }
func (*Agent) RemoveInterface(context.Context, string) error          { return ErrUnsupported }
func (*Agent) Resize(context.Context, uint16, uint16) error           { return ErrUnsupported }
func (*Agent) SetDefaultRoute(context.Context, string, netip.Addr, netip.Addr) error {
	return ErrUnsupported
}
func (*Agent) SetMTU(context.Context, string, int, int) error    { return ErrUnsupported }
func (*Agent) Signal(context.Context, syscall.Signal) error      { return ErrUnsupported }
func (*Agent) Start(context.Context, Process) error              { return ErrUnsupported }
func (*Agent) State(context.Context) (State, error)              { return State{}, ErrUnsupported }
func (*Agent) Wait(context.Context) (ExitStatus, error)          { return ExitStatus{}, ErrUnsupported }
func (*Agent) Warnings() []string                                { return nil }
func (*Agent) WriteFiles(context.Context, []byte, []byte) error  { return ErrUnsupported }
func (*Attachment) Next() (int, []byte, error)                   { return 0, nil, ErrUnsupported }
func (*Attachment) Write([]byte) (int, error)                    { return 0, ErrUnsupported }
func (*Attachment) CloseWrite() error                            { return ErrUnsupported }
func (*Attachment) Close() error                                 { return ErrUnsupported }
func (*Exec) Wait(context.Context) (ExitStatus, error)           { return ExitStatus{}, ErrUnsupported }
func (*Exec) Signal(context.Context, syscall.Signal) error       { return ErrUnsupported }
func (*Exec) Resize(uint16, uint16) error                        { return ErrUnsupported }
func (*Exec) Close() error                                       { return ErrUnsupported }
func (*ForeignNS) ID() NamespaceID                               { return NamespaceID{} }
func (*ForeignNS) Check(context.Context) error                   { return ErrUnsupported }
func (*ForeignNS) NetNS() string                                 { return "" }
func (*ForeignNS) Same(*ForeignNS) bool                          { return false }
func (*ForeignNS) At(string) bool                                { return false }
func (*ForeignNS) Close() error                                  { return ErrUnsupported }
func (*ForeignNS) RemoveInterface(context.Context, string) error { return ErrUnsupported }
func (*ForeignNS) AddInterface(context.Context, Interface) (*tap.Device, error) {
	return nil, ErrUnsupported
}
func (*ForeignNS) Reopen(context.Context, Interface) (*tap.Device, error) {
	return nil, ErrUnsupported
}
func (*ForeignNS) SetMTU(context.Context, string, int, int) error { return ErrUnsupported }
func (*ForeignNS) SetDefaultRoute(context.Context, string, netip.Addr, netip.Addr) error {
	return ErrUnsupported
}
