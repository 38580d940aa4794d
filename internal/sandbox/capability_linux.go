package sandbox

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Theory of operation: capabilities
//
// The agent has every capability over the sandbox's namespaces; what it starts has
// less. Nobody gets CAP_SYS_PTRACE. So no process inside has all that the agent
// has, and the kernel lets none of them look into it (ptrace(2), access mode
// checking): its descriptors lead to directories outside of the root directory and
// to the other side of the interfaces.
//
// Where root inside is root outside, nothing but mounts keeps it from the host's
// sysctls and control groups, so it gets no right to mount: it has Docker's default
// set, and CAP_NET_ADMIN for its own network. An ordinary user's sandbox keeps the
// rest, as in unshare -Ur: outside it has no more rights than the user.

// rootCapabilities are those of a root that is root outside as well.
var rootCapabilities = [...]int{
	unix.CAP_AUDIT_WRITE, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_MKNOD,
	unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW, unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETPCAP,
	unix.CAP_SETUID, unix.CAP_SYS_CHROOT,
}

// withheld lists the capabilities that no process of this sandbox gets.
func withheld() []int {
	if !rootOutside() {
		return []int{unix.CAP_SYS_PTRACE}
	}
	var list []int
	for _, c := range allCapabilities() {
		if !slices.Contains(rootCapabilities[:], int(c)) {
			list = append(list, int(c))
		}
	}
	return list
}

// rootOutside reports whether this user namespace maps root to itself.
func rootOutside() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true // the safer answer
	}
	return slices.ContainsFunc(parseMap(b), func(r idRange) bool { return r.inside == 0 && r.outside == 0 })
}

// withhold takes capabilities from whatever the calling thread will execute. The
// thread itself keeps them.
func withhold(list []int) error {
	for _, c := range list {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("withhold capability %d: %w", c, err)
		}
	}
	// What is inheritable is given to root in spite of the bounding set.
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	err := unix.Capget(&head, &sets[0])
	if err == nil {
		sets[0].Inheritable, sets[1].Inheritable = 0, 0
		err = unix.Capset(&head, &sets[0])
	}
	if err != nil {
		return fmt.Errorf("inheritable capabilities: %w", err)
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}
