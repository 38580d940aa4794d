//go:build !linux

package tap

import "os"

func open(Options) (*Device, error) { return nil, ErrUnsupported }

func adopt([]int, Rung) (opened, rung Rung, err error) { return 0, 0, ErrUnsupported }

func readFrame(int, []byte) (int, error) { return 0, ErrUnsupported }

func writeFrame(int, []byte) error { return ErrUnsupported }

func closeFD(int) error { return ErrUnsupported }

func duplicate(int, string) (*os.File, error) { return nil, ErrUnsupported }

func persist(int, bool) error { return ErrUnsupported }

// A Poller waits for many descriptors at once; only Linux has one.
type Poller struct{}

// NewPoller returns [ErrUnsupported].
func NewPoller() (*Poller, error) { return nil, ErrUnsupported }

// Add returns [ErrUnsupported].
func (*Poller) Add(int, uint64) error { return ErrUnsupported }

// Remove returns [ErrUnsupported].
func (*Poller) Remove(int) error { return ErrUnsupported }

// Wait returns [ErrUnsupported].
func (*Poller) Wait([]uint64, int) (int, error) { return 0, ErrUnsupported }

// Wake returns [ErrUnsupported].
func (*Poller) Wake() error { return ErrUnsupported }

// Close returns [ErrUnsupported].
func (*Poller) Close() error { return ErrUnsupported }

// Probe reports that this system has no TAP interfaces weft can use.
func Probe() Report { return Report{Open: ErrUnsupported.Error()} }
