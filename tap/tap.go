package tap

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"weft/internal/frame"
)

// A Rung is a step of the ladder of offloads, the best first.
type Rung uint8

// The rungs.
const (
	USO   Rung = iota // virtio header; checksums, TCP and UDP segmentation left undone (Linux 6.2)
	TSO               // virtio header; checksums and TCP segmentation left undone
	Plain             // single frames with complete checksums
	Water             // the same through songgao/water
)

var rungNames = [...]string{"uso", "tso", "plain", "water"}

// String returns the lower-case name.
func (r Rung) String() string { return rungNames[r] }

// ParseRung reads what String writes.
func ParseRung(s string) (Rung, error) {
	i := slices.Index(rungNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("offload %q: expected uso, tso, plain or water", s)
	}
	return Rung(i), nil
}

// caps returns what a device on this rung takes on write.
func (r Rung) caps() frame.Caps {
	switch r {
	case USO:
		return frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN | frame.CapUSO
	case TSO:
		return frame.CapCsum | frame.CapTSO4 | frame.CapTSO6 | frame.CapECN
	}
	return 0
}

// header reports whether frames carry a virtio header on this rung.
func (r Rung) header() bool { return r <= TSO }

// Options say how a device is opened.
type Options struct {
	// Name of the interface, at most 15 bytes; a %d in it is replaced by the
	// first free number. Empty lets the kernel choose.
	Name string
	// Queues is the number of descriptors, 0 meaning 1. A device made with
	// several queues can only be attached to with several again.
	Queues int
	// Highest is the rung to start at; the zero value tries them all. An
	// interface that is attached to again, from another rung, is brought to it.
	Highest Rung
	// Exclusive fails if an interface of that name exists. Otherwise a
	// persistent TAP of that name is attached to.
	Exclusive bool
	// Persist keeps the interface when the last descriptor is closed.
	Persist bool
	// NAPI lets the kernel's GRO merge what is written (IFF_NAPI).
	NAPI bool
}

// The errors callers branch on.
var (
	// ErrRefused is about one frame: the device does not take it, or the
	// interface is down.
	ErrRefused = errors.New("tap: frame refused")
	// ErrBlocked means that the device has no room now. It wraps frame.ErrBlocked.
	ErrBlocked = fmt.Errorf("tap: %w", frame.ErrBlocked)
	// ErrGone means that the interface was deleted under its descriptors. It
	// wraps os.ErrClosed.
	ErrGone = fmt.Errorf("tap: interface is gone: %w", os.ErrClosed)
	// ErrUnsupported is returned by everything on systems other than Linux.
	ErrUnsupported = errors.New("tap: TAP interfaces need Linux")
)

// The system layer's answers that never leave this package.
var (
	errNothing = errors.New("tap: nothing to read")
	errDown    = errors.New("tap: interface is down")
)
