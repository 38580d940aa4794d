package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// numSignals is the number of signals of the kernel's ABI; sigIgnore is SIG_IGN
// in its struct sigaction, whose first word is the handler everywhere.
const (
	numSignals = 64
	sigIgnore  = 1
)

// defaultSignals gives signals that whoever started the daemon ignored (nohup,
// timeout, a shell's background jobs) their default meaning again: execve(2)
// hands ignored signals on, and a sandbox is to begin like any container.
func defaultSignals() {
	type sigaction struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	for sig := uintptr(1); sig <= numSignals; sig++ {
		var now sigaction
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), unsafe.Sizeof(now.mask), 0, 0)
		if errno != 0 || now.handler != sigIgnore {
			continue
		}
		// SIGKILL and SIGSTOP cannot be ignored, so none of these is refused.
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&sigaction{})), 0, unsafe.Sizeof(now.mask), 0, 0)
	}
}
