package node

import "syscall"

// maxListeners is how many listeners of published ports a daemon has at most: half of the
// files it may have open, so that there are descriptors for what goes by them, and for
// the sandboxes that publish nothing.
func maxListeners() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || l.Cur > 1<<30 {
		return 0
	}
	return int(l.Cur / 2)
}
