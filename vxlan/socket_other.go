//go:build !linux

package vxlan

import (
	"net/netip"

	"weft/internal/frame"
	"weft/ipsec"
)

// A Socket receives from and sends to VTEPs; only Linux has one.
type Socket struct{}

// Listen returns [ErrUnsupported].
func Listen(Config) (*Socket, error) { return nil, ErrUnsupported }

// Addr returns nothing.
func (*Socket) Addr() netip.AddrPort { return netip.AddrPort{} }

// SourcePorts returns nothing.
func (*Socket) SourcePorts() []uint16 { return nil }

// FD returns -1.
func (*Socket) FD() int { return -1 }

// SetTable does nothing.
func (*Socket) SetTable(*Table) {}

// SetSAs does nothing.
func (*Socket) SetSAs(*ipsec.Table) {}

// Send returns [ErrUnsupported].
func (*Socket) Send(netip.AddrPort, []byte) error { return ErrUnsupported }

// ReadBatch returns [ErrUnsupported].
func (*Socket) ReadBatch(*frame.Batch) (int, error) { return 0, ErrUnsupported }

// Pending reports false.
func (*Socket) Pending() bool { return false }

// Readers returns nothing.
func (*Socket) Readers() []*Reader { return nil }

// A Reader is what one goroutine receives with; only Linux has one.
type Reader struct{}

// FD returns -1.
func (*Reader) FD() int { return -1 }

// ReadBatch returns [ErrUnsupported].
func (*Reader) ReadBatch(*frame.Batch) (int, error) { return 0, ErrUnsupported }

// Pending reports false.
func (*Reader) Pending() bool { return false }

// Received returns nothing.
func (*Reader) Received() (bytes, frames uint64) { return 0, 0 }

// NewLink returns a link without queues.
func (*Socket) NewLink(netip.AddrPort, uint32) *Link { return &Link{} }

// NewSealedLink returns a link without queues.
func (*Socket) NewSealedLink(netip.AddrPort, uint32, *ipsec.Peer) *Link { return &Link{} }

// Stats returns nothing.
func (*Socket) Stats() SocketStats { return SocketStats{} }

// PathMTU returns [ErrUnsupported].
func (*Socket) PathMTU(netip.Addr) (int, error) { return 0, ErrUnsupported }

// Close does nothing.
func (*Socket) Close() error { return nil }

// A Link is the way to one network of one remote VTEP; only Linux has one.
type Link struct{}

// Queues returns nothing.
func (*Link) Queues() []*LinkQueue { return nil }

// A LinkQueue is what one worker writes to; only Linux has one.
type LinkQueue struct{}

// Caps returns 0.
func (*LinkQueue) Caps() frame.Caps { return 0 }

// ReadBatch returns [ErrUnsupported].
func (*LinkQueue) ReadBatch(*frame.Batch) (int, error) { return 0, ErrUnsupported }

// WriteBatch returns [ErrUnsupported].
func (*LinkQueue) WriteBatch([]*frame.Frame) (int, error) { return 0, ErrUnsupported }
