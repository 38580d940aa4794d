package ipam

import "errors"

// Sentinels; what is returned wraps one of them and names the objects. Capitals
// are Docker's.
var (
	ErrOverlap   = errors.New("Pool overlaps with other one on this address space")
	ErrNoPools   = errors.New("all predefined address pools have been fully subnetted")
	ErrExhausted = errors.New("no available addresses on this pool")
	//lint:ignore ST1005 Docker's text
	ErrInUse       = errors.New("Address already in use")
	ErrOutOfRange  = errors.New("requested address is out of range")
	ErrInvalidPool = errors.New("invalid address pool")
	ErrReleased    = errors.New("address pool has been released")
	ErrNotInUse    = errors.New("address is not in use")
	ErrUnsupported = errors.New("ipam driver is not supported yet")
)

// A sentence is an error whose text is not made from its sentinel's: Docker has
// other words for the user than for itself.
type sentence struct {
	text string
	is   error
}

func (e *sentence) Error() string { return e.text }
func (e *sentence) Unwrap() error { return e.is }
