package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Theory of operation
//
// Everything that is mounted is first made as a detached mount and held by its
// descriptor, while the caller's tree is still there: the kernel lets a user
// namespace mount a new proc or sysfs only where a whole one is visible, and the
// files to be bound have no path any more once the root has changed. Then, with
// --rootfs, the root is changed; then each mount is moved to its place, resolved
// in the tree that the sandbox will see. mount_namespaces(7), move_mount(2).

const (
	plainAttr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	devAttr   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
)

// mounts builds the file tree. The warnings say what the tree has no place for.
func (a *agent) mounts() (warnings []string, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, explainMount("/ (private propagation)", err)
	}
	procFD, err := newMount("proc", plainAttr, nil)
	if err != nil {
		return nil, err
	}
	defer unix.Close(procFD)
	sysFD, err := openSys(a.config.HostNetwork)
	if err != nil {
		return nil, err
	}
	defer unix.Close(sysFD)
	ptsFD, err := newMount("devpts", devAttr, ptsOptions())
	if err != nil {
		return nil, err
	}
	a.ptsDir = os.NewFile(uintptr(ptsFD), "devpts")
	files, err := a.openEtc()
	defer closeFDs(files)
	if err != nil {
		return nil, err
	}
	if a.config.Rootfs != "" {
		err = a.enterRoot(procFD, sysFD)
	} else {
		err = overmount(procFD, sysFD, ptsFD)
	}
	if err != nil {
		return nil, err
	}
	if err := a.openSysctls(); err != nil {
		return nil, err
	}
	for i, name := range etcFiles {
		if warning := bindEtc(files[i], "/etc/"+name, a.config.Rootfs != ""); warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, nil
}

// newMount makes a new file system as a detached mount.
func newMount(fstype string, attr int, options map[string]string) (fd int, err error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, explainMount(fstype, err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", "weft-"+fstype); err != nil {
		return -1, explainMount(fstype, err)
	}
	for k, v := range options {
		if v == "" {
			err = unix.FsconfigSetFlag(fs, k)
		} else {
			err = unix.FsconfigSetString(fs, k, v)
		}
		if err != nil {
			return -1, explainMount(fstype+" with "+k, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, explainMount(fstype, err)
	}
	if fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr); err != nil {
		return -1, explainMount(fstype, err)
	}
	return fd, nil
}

// openSys makes the sysfs of the new network namespace. Where the kernel does not
// allow one, the caller's is taken over, read-only.
func openSys(hostNetwork bool) (int, error) {
	if !hostNetwork {
		if fd, err := newMount("sysfs", plainAttr|unix.MOUNT_ATTR_RDONLY, nil); err == nil {
			return fd, nil
		}
	}
	fd, err := cloneTree(unix.AT_FDCWD, "/sys", true)
	if err != nil {
		return -1, explainMount("/sys", err)
	}
	if err := setAttr(fd, unix.MOUNT_ATTR_RDONLY); err != nil && rootOutside() {
		unix.Close(fd)
		return -1, explainMount("/sys read-only", err)
	}
	return fd, nil
}

// setAttr adds attributes to a detached mount and those below it, where the kernel
// can (Linux 5.12).
func setAttr(fd int, attr uint64) error {
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr})
}

// ptsOptions are those of a terminal file system of the sandbox's own; the group
// tty gets the terminals if it is mapped.
func ptsOptions() map[string]string {
	options := map[string]string{"newinstance": "", "ptmxmode": "0666", "mode": "0620"}
	if b, err := os.ReadFile("/proc/self/gid_map"); err == nil {
		for _, r := range parseMap(b) {
			if r.inside <= 5 && 5 < r.inside+r.count {
				options["gid"] = "5"
			}
		}
	}
	return options
}

// cloneTree returns a detached bind mount of a path.
func cloneTree(dirfd int, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.OpenTree(dirfd, path, flags)
}

// attach moves a detached mount to a path, whose symbolic links are followed.
func attach(fd int, path string) error {
	err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	if err != nil {
		return explainMount(path, err)
	}
	return nil
}

// overmount puts the sandbox's own mounts over those of the caller's tree.
func overmount(procFD, sysFD, ptsFD int) error {
	// The new sysfs comes without the control groups, which programs look at. They
	// are the host's: writing them would move and freeze its processes.
	groups, gerr := cloneTree(unix.AT_FDCWD, "/sys/fs/cgroup", true)
	if err := attach(procFD, "/proc"); err != nil {
		return err
	}
	if err := attach(sysFD, "/sys"); err != nil {
		return err
	}
	if gerr == nil {
		defer unix.Close(groups)
		if setAttr(groups, unix.MOUNT_ATTR_RDONLY) == nil || !rootOutside() {
			attach(groups, "/sys/fs/cgroup") // absent where it was absent before
		}
	}
	if err := attach(ptsFD, "/dev/pts"); err != nil {
		return err
	}
	// /dev/ptmx is a symbolic link to pts/ptmx, or a device of its own that opens
	// the caller's terminals.
	if info, err := os.Lstat("/dev/ptmx"); err != nil || info.Mode()&os.ModeSymlink != 0 {
		return nil
	}
	ptmx, err := cloneTree(unix.AT_FDCWD, "/dev/pts/ptmx", false)
	if err != nil {
		return explainMount("/dev/ptmx", err)
	}
	defer unix.Close(ptmx)
	return attach(ptmx, "/dev/ptmx")
}

// The parts of /proc and /sys that are the host's, as Docker has them: for a root
// that is root outside, writing or reading them would reach the host.
var (
	readOnlyPaths = [...]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	maskedPaths   = [...]string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"}
)

// protectHost makes the first read-only and, for that root, covers the
// others: an ordinary user reads nothing there that he cannot read outside.
func protectHost() error {
	for _, path := range readOnlyPaths {
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return explainMount(path, err)
		}
		flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
		if err := unix.Mount("", path, "", flags, ""); err != nil {
			return explainMount(path+" read-only", err)
		}
	}
	if !rootOutside() {
		return nil
	}
	for _, path := range maskedPaths {
		info, err := os.Lstat(path)
		switch {
		case err != nil: // the host has none
		case info.IsDir():
			err = mountNew("tmpfs", path, plainAttr|unix.MOUNT_ATTR_RDONLY, map[string]string{"mode": "0555", "size": "4k"})
		default:
			err = unix.Mount(os.DevNull, path, "", unix.MS_BIND, "")
		}
		if err != nil && info != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	return nil
}

// openSysctls keeps a way to /proc/sys that stays writable.
func (a *agent) openSysctls() error {
	fd, err := unix.Open("/proc/sys", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc/sys: %w", err)
	}
	a.sys = os.NewFile(uintptr(fd), "/proc/sys")
	return nil
}
