package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal makes a terminal in the sandbox's own devpts. The master does not
// block; the slave is the process's.
func (a *agent) openTerminal(rows, cols uint16) (master, slave *os.File, err error) {
	fd, err := unix.Openat(int(a.ptsDir.Fd()), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("unlock terminal: %w", err)
	}
	// TIOCGPTPEER needs no path: what is mounted over /dev/pts does not matter.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		master.Close()
		return nil, nil, fmt.Errorf("open terminal's peer: %w", errno)
	}
	slave = os.NewFile(peer, "terminal")
	if rows > 0 && cols > 0 {
		setSize(master, rows, cols)
	}
	return master, slave, nil
}

// setSize sets a terminal's size in characters; its process gets SIGWINCH.
func setSize(f *os.File, rows, cols uint16) error {
	var err error
	cerr := control(f, func(fd int) {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(cerr, err)
}
