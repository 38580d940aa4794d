package tap

import (
	"errors"
	"fmt"
	"os"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

const cloneDevice = "/dev/net/tun"

// The TUN_F flags of linux/if_tun.h, which x/sys/unix lacks. The kernel turns
// UDP segmentation on only if both families are asked for.
const (
	tunCsum   = 0x01
	tunTSO4   = 0x02
	tunTSO6   = 0x04
	tunTSOECN = 0x08
	tunUSO4   = 0x20
	tunUSO6   = 0x40

	tunTCP = tunCsum | tunTSO4 | tunTSO6 | tunTSOECN
	tunUDP = tunUSO4 | tunUSO6
)

// open walks down the ladder from o.Highest. A missing right or a missing
// device file is the same on every rung and ends the walk.
func open(o Options) (*Device, error) {
	var failed []error
	for rung := o.Highest; rung <= Water; rung++ {
		name, fds, err := openRung(o, rung)
		if err == nil {
			d := newDevice(name, rung, fds)
			if rung.header() {
				d.sample()
			}
			return d, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", rung, err))
		if hopeless(rung, err) {
			break
		}
	}
	return nil, fmt.Errorf("tap %s: open %s: %w", o.Name, cloneDevice, errors.Join(failed...))
}

// hopeless reports whether no lower rung can do better. EINVAL may come from the
// virtio header, but without one the name belongs to another kind of interface.
func hopeless(rung Rung, err error) bool {
	if rung == Plain && errors.Is(err, unix.EINVAL) {
		return true
	}
	for _, errno := range []error{unix.EPERM, unix.EACCES, unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.EBUSY, unix.EEXIST, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// openRung opens all queues of a device on one rung.
func openRung(o Options, rung Rung) (name string, fds []int, err error) {
	name = o.Name
	for range o.Queues {
		var fd int
		if rung == Water {
			name, fd, err = openWater(o, name)
		} else {
			name, fd, err = openQueue(o, name, rung)
		}
		if err != nil {
			closeAll(fds)
			return "", nil, err
		}
		fds = append(fds, fd)
		o.Exclusive = false // the next queues join the interface just made
	}
	if o.Persist {
		if err := persist(fds[0], true); err != nil {
			closeAll(fds)
			return "", nil, fmt.Errorf("TUNSETPERSIST: %w", err)
		}
	}
	return name, fds, nil
}

// openQueue opens one descriptor. The flags of the first one make the interface.
func openQueue(o Options, name string, rung Rung) (string, int, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", -1, err
	}
	name, err = attach(fd, name, flagsOf(o, rung))
	if err == nil {
		err = setOffload(fd, rung)
	}
	if err != nil {
		unix.Close(fd)
		return "", -1, err
	}
	return name, fd, nil
}

func flagsOf(o Options, rung Rung) uint16 {
	flags := unix.IFF_TAP | unix.IFF_NO_PI
	if rung.header() {
		flags |= unix.IFF_VNET_HDR
	}
	if o.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if o.NAPI {
		flags |= unix.IFF_NAPI
	}
	if o.Exclusive {
		flags |= unix.IFF_TUN_EXCL
	}
	return uint16(flags)
}

// attach makes the interface or joins it and returns its name.
func attach(fd int, name string, flags uint16) (string, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return "", err
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return "", fmt.Errorf("TUNSETIFF: %w", err)
	}
	return req.Name(), nil
}

// setOffload says which work a rung lets the kernel leave undone: none below TSO,
// where an interface made on a higher rung would go on to leave it.
func setOffload(fd int, rung Rung) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, frame.OffloadLen); err != nil {
		return fmt.Errorf("TUNSETVNETHDRSZ %d: %w", frame.OffloadLen, err)
	}
	flags := 0
	if rung.header() {
		flags = tunTCP
	}
	if rung == USO {
		flags |= tunUDP
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("TUNSETOFFLOAD %#x: %w", flags, err)
	}
	return nil
}

// openWater opens one descriptor through the portable library and takes it over.
func openWater(o Options, name string) (string, int, error) {
	ifce, err := water.New(water.Config{
		DeviceType:             water.TAP,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name, MultiQueue: o.Queues > 1, Persist: o.Persist},
	})
	if err != nil {
		return "", -1, err
	}
	defer ifce.Close()
	file, ok := ifce.ReadWriteCloser.(*os.File)
	if !ok {
		return "", -1, fmt.Errorf("water returned %T, a file was expected", ifce.ReadWriteCloser)
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return "", -1, err
	}
	err = unix.SetNonblock(fd, true)
	if err == nil {
		err = setOffload(fd, Water)
	}
	if err != nil {
		unix.Close(fd)
		return "", -1, err
	}
	return ifce.Name(), fd, nil
}

// adopt finds the rung that descriptors from elsewhere were opened on, and asks
// for the offloads again, up to highest: who passed them may have set others. A
// virtio header stays where it is, so a device can be opened higher than the rung
// it is to work on.
func adopt(fds []int, highest Rung) (opened, rung Rung, err error) {
	for i, fd := range fds {
		req, err := unix.NewIfreq("")
		if err != nil {
			return 0, 0, err
		}
		if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
			return 0, 0, fmt.Errorf("descriptor %d is no open TAP: TUNGETIFF: %w", fd, err)
		}
		flags := req.Uint16()
		if flags&unix.IFF_TAP == 0 || flags&unix.IFF_NO_PI == 0 {
			return 0, 0, fmt.Errorf("descriptor %d (%s) has flags %#x, a TAP with IFF_NO_PI was expected", fd, req.Name(), flags)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return 0, 0, err
		}
		unix.CloseOnExec(fd)
		base, here := max(Plain, highest), max(Plain, highest)
		if flags&unix.IFF_VNET_HDR != 0 {
			base = TSO
			if here, err = reapply(fd, highest); err != nil {
				return 0, 0, err
			}
		}
		base = min(base, here)
		if i > 0 && (base != opened || here != rung) {
			return 0, 0, fmt.Errorf("descriptor %d is on rung %s, those before it on %s", fd, here, rung)
		}
		opened, rung = base, here
	}
	return opened, rung, nil
}

// reapply sets the offloads of a descriptor with a virtio header and returns the
// rung they amount to.
func reapply(fd int, highest Rung) (Rung, error) {
	var first error
	for rung := min(highest, Plain); rung <= Plain; rung++ {
		err := setOffload(fd, rung)
		if err == nil {
			return rung, nil
		}
		if first == nil {
			first = err
		}
	}
	return 0, first
}
