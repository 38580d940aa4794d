package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// etcFiles are the files in the runtime directory that are bound over those of
// the same name in /etc.
var etcFiles = [...]string{hostsName, hostnameName, resolvName}

// openEtc returns detached mounts of the files, in order. They are found by path:
// a.dir lies in the daemon's mount namespace, whose mounts cannot be cloned here.
func (a *agent) openEtc() (fds []int, err error) {
	for _, name := range etcFiles {
		fd, err := cloneTree(unix.AT_FDCWD, filepath.Join(a.config.Dir, name), false)
		if err != nil {
			return fds, explainMount(name, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// bindEtc puts one of the files in its place. A root directory of the sandbox's
// own gets an empty file to bind over; the caller's tree is not changed. The
// warning says why there is no such file.
func bindEtc(fd int, path string, create bool) (warning string) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if !create {
			return fmt.Sprintf("%s is not the sandbox's own: the host has no such file to put it over", path)
		}
		if err := createTarget(path); err != nil {
			return fmt.Sprintf("%s is not the sandbox's own: %v", path, err)
		}
	}
	if err := attach(fd, path); err != nil {
		return fmt.Sprintf("%s is not the sandbox's own: %v", path, err)
	}
	return ""
}

// createTarget makes an empty file, also at the end of a dangling link.
func createTarget(path string) error {
	if to, err := os.Readlink(path); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// deviceNodes are the nodes of the caller's /dev that a sandbox with a root directory
// of its own gets. The last is for the agent, and for VPN programs.
var deviceNodes = [...]string{"null", "zero", "full", "random", "urandom", "tty", "net/tun"}

// devLinks are the symbolic links of its /dev.
var devLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}

// enterRoot makes Config.Rootfs the root directory and mounts what belongs in it.
func (a *agent) enterRoot(procFD, sysFD int) error {
	nodes := make(map[string]int)
	defer func() {
		for _, fd := range nodes {
			unix.Close(fd)
		}
	}()
	for _, name := range deviceNodes {
		fd, err := cloneTree(unix.AT_FDCWD, "/dev/"+name, false)
		if errors.Is(err, unix.ENOENT) {
			continue // the host has none either
		}
		if err != nil {
			return explainMount("/dev/"+name, err)
		}
		nodes[name] = fd
	}
	if err := changeRoot(a.config.Rootfs); err != nil {
		return err
	}
	for path, fd := range map[string]int{"/proc": procFD, "/sys": sysFD} {
		if err := a.mountPoint(path); err != nil {
			return err
		}
		if err := attach(fd, path); err != nil {
			return err
		}
	}
	return a.fillDev(nodes)
}

// changeRoot makes dir the root of the mount namespace, and lets go of the
// caller's tree (pivot_root(2), the form with both arguments the same).
func changeRoot(dir string) error {
	tree, err := cloneTree(unix.AT_FDCWD, dir, true)
	if err != nil {
		return explainMount("root directory "+dir, err)
	}
	defer unix.Close(tree)
	// The devices come from /dev alone; an image that was unpacked may hold others.
	if err := setAttr(tree, unix.MOUNT_ATTR_NODEV); err != nil && !errors.Is(err, unix.ENOSYS) {
		return explainMount("root directory "+dir+" without devices", err)
	}
	if err := attach(tree, dir); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("root directory %s: %w", dir, err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root to %s: %w (the host's own root must not be the initramfs)", dir, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root: %w", err)
	}
	return unix.Chdir("/")
}

// mountPoint makes a directory to mount on in the new root, where there is none.
// It stays when the sandbox goes: the tree is the user's.
func (a *agent) mountPoint(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("root directory %s has no directory %s and none can be made in it: %w; make dev, etc, proc and sys there, or make it writable",
			a.config.Rootfs, path[1:], err)
	}
	return nil
}

// fillDev builds /dev in the new root.
func (a *agent) fillDev(nodes map[string]int) error {
	if err := a.mountPoint("/dev"); err != nil {
		return err
	}
	if err := mountNew("tmpfs", "/dev", devAttr, map[string]string{"mode": "0755", "size": "64k"}); err != nil {
		return err
	}
	for _, dir := range [...]string{"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/net"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := attach(int(a.ptsDir.Fd()), "/dev/pts"); err != nil {
		return err
	}
	if err := mountNew("tmpfs", "/dev/shm", plainAttr, map[string]string{"mode": "1777", "size": "64m"}); err != nil {
		return err
	}
	if err := mountNew("mqueue", "/dev/mqueue", plainAttr, nil); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	for name, fd := range nodes {
		if err := os.WriteFile("/dev/"+name, nil, 0o666); err != nil {
			return err
		}
		if err := attach(fd, "/dev/"+name); err != nil {
			return err
		}
	}
	for name, to := range devLinks {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	return nil
}

func mountNew(fstype, path string, attr int, options map[string]string) error {
	fd, err := newMount(fstype, attr, options)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attach(fd, path)
}
