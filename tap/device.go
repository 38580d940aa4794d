package tap

import (
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation
//
// A Device is open from Open or Adopt until Close, which is final and may be
// called twice. Its rung is fixed in what it is read with, but what may be
// written can only shrink: kernels exist that grant a virtio header and then
// refuse the merged frames it describes (Linux 6.6.44 and its siblings, some
// vendor kernels). Open finds that out by writing a sample to the interface
// while it is still down. Where that was not possible, a kind of superframe that
// is refused refusals times and was never once taken is given up. A kind that
// was taken once stays: after that a refusal is the fault of the frame.

// refusals is how often an untried kind of superframe is refused before the
// device is held to be unable to take it.
const refusals = 8

// A Device is one TAP interface.
type Device struct {
	name    string
	opened  Rung
	queues  []*Queue
	caps    atomic.Uint32    // frame.Caps
	proven  atomic.Uint32    // frame.Caps the kernel took at least once
	refused [8]atomic.Uint32 // refusals of kinds not proven, by the kind's lowest bit: frame.Caps has eight
}

// Open creates the interface in the calling thread's network namespace, or
// attaches to a persistent one, on the highest rung this kernel grants. It needs
// CAP_NET_ADMIN in that namespace and /dev/net/tun.
func Open(o Options) (*Device, error) {
	if o.Queues == 0 {
		o.Queues = 1
	}
	if o.Queues < 0 || o.Queues > 256 {
		return nil, fmt.Errorf("tap %s: %d queues asked for, 1 to 256 possible", o.Name, o.Queues)
	}
	if len(o.Name) > 15 {
		return nil, fmt.Errorf("tap %q: interface name longer than 15 bytes", o.Name)
	}
	return open(o)
}

// Adopt makes a device of descriptors that another process opened and passed.
// They belong to the device from now on, also when an error is returned. No
// offload above highest is used; without a virtio header, plain and water are the
// same, and which of them it is called follows highest.
func Adopt(name string, fds []int, highest Rung) (*Device, error) {
	if len(fds) == 0 {
		return nil, fmt.Errorf("tap %s: no descriptors to adopt", name)
	}
	opened, rung, err := adopt(fds, highest)
	if err != nil {
		closeAll(fds)
		return nil, fmt.Errorf("tap %s: adopt: %w", name, err)
	}
	d := newDevice(name, opened, fds)
	d.caps.Store(uint32(rung.caps()))
	return d, nil
}

func newDevice(name string, rung Rung, fds []int) *Device {
	d := &Device{name: name, opened: rung}
	d.caps.Store(uint32(rung.caps()))
	for _, fd := range fds {
		q := &Queue{dev: d, vnet: rung.header()}
		q.fd.Store(int32(fd))
		d.queues = append(d.queues, q)
	}
	return d
}

// Name returns the interface's name at the time it was opened or adopted.
func (d *Device) Name() string { return d.name }

// Rung returns the rung the device works on now: the one it was opened on, or a
// lower one if the kernel refused superframes since.
func (d *Device) Rung() Rung {
	switch caps := frame.Caps(d.caps.Load()); {
	case !d.opened.header():
		return d.opened
	case caps&frame.CapUSO != 0:
		return USO
	case caps&(frame.CapTSO4|frame.CapTSO6) != 0:
		return TSO
	}
	return Plain
}

// Caps returns the offloads the device takes on write.
func (d *Device) Caps() frame.Caps { return frame.Caps(d.caps.Load()) }

// Queues returns the device's queues. The slice is not to be changed.
func (d *Device) Queues() []*Queue { return d.queues }

// Files returns a duplicate of each queue's descriptor, to be passed to another
// process and then closed.
func (d *Device) Files() ([]*os.File, error) {
	var files []*os.File
	for _, q := range d.queues {
		f, err := duplicate(q.FD(), d.name)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, fmt.Errorf("tap %s: duplicate descriptor: %w", d.name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// Persist says whether the interface outlives its descriptors.
func (d *Device) Persist(on bool) error {
	if err := persist(d.queues[0].FD(), on); err != nil {
		return fmt.Errorf("tap %s: set persistent: %w", d.name, err)
	}
	return nil
}

// Close closes all queues; the interface vanishes unless it is persistent or
// open elsewhere. Nobody may be inside ReadBatch or WriteBatch, or waiting for
// the descriptor: its number may be given to another file at once.
func (d *Device) Close() error {
	var first error
	for _, q := range d.queues {
		fd := q.fd.Swap(-1)
		if fd < 0 {
			continue
		}
		if err := closeFD(int(fd)); err != nil && first == nil {
			first = fmt.Errorf("tap %s: close: %w", d.name, err)
		}
	}
	return first
}

// took notes that the kernel took a superframe of this kind.
func (d *Device) took(kind frame.Caps) {
	if frame.Caps(d.proven.Load())&kind != kind {
		d.proven.Or(uint32(kind))
	}
}

// refuse notes that the kernel refused a superframe of this kind, and gives the
// kind up if it was never taken.
func (d *Device) refuse(kind frame.Caps) {
	kind &^= frame.Caps(d.proven.Load())
	if kind == 0 {
		return
	}
	if n := &d.refused[bits.TrailingZeros32(uint32(kind))]; n.Add(1) >= refusals {
		n.Store(0)
		d.caps.And(^uint32(kind))
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		closeFD(fd)
	}
}
