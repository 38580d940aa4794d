//go:build !linux

package uplink

import (
	"net/netip"
	"os"

	"weft/internal/frame"
)

// A Host is a host uplink. There is none on this system.
type Host struct{}

// A Published is a port of the host's that leads to an endpoint.
type Published struct{}

// NewHost returns [ErrNotSupported].
func NewHost(HostConfig) (*Host, error) { return nil, ErrNotSupported }

// PingSockets returns [ErrNotSupported].
func PingSockets() error { return ErrNotSupported }

// The methods of a Host that nobody can make.

func (*Host) FD() int                                { return -1 }
func (*Host) Caps() frame.Caps                       { return 0 }
func (*Host) ReadBatch(*frame.Batch) (int, error)    { return 0, os.ErrClosed }
func (*Host) WriteBatch([]*frame.Frame) (int, error) { return 0, os.ErrClosed }
func (*Host) Close() error                           { return nil }
func (*Host) Flows() []FlowInfo                      { return nil }
func (*Host) Flush(netip.Addr) int                   { return 0 }
func (*Host) Stats() Stats                           { return Stats{} }
func (*Host) Publish(Binding) (*Published, error)    { return nil, ErrNotSupported }
func (*Published) Addr() netip.AddrPort              { return netip.AddrPort{} }
func (*Published) Binding() Binding                  { return Binding{} }
func (*Published) Close() error                      { return nil }
