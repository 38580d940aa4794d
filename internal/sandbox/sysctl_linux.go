package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctlPath turns a sysctl's name into its path below /proc/sys. Only those that
// belong to a network or IPC namespace are allowed: others would be the host's.
// Where a name holds a slash, slashes separate, as in sysctl(8): interface names
// may have dots.
func sysctlPath(name string) (string, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = strings.ReplaceAll(name, ".", "/")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("sysctl %q: a name such as net.ipv4.ip_forward was expected", name)
		}
	}
	for _, prefix := range [...]string{"net/", "fs/mqueue/", "kernel/msg", "kernel/shm"} {
		if strings.HasPrefix(path, prefix) {
			return path, nil
		}
	}
	if path == "kernel/sem" {
		return path, nil
	}
	return "", fmt.Errorf("sysctl %q is the host's: net.*, fs.mqueue.*, kernel.msg*, kernel.shm* and kernel.sem belong to a sandbox", name)
}

// writeSysctl writes one value below an open /proc/sys.
func writeSysctl(sys *os.File, path, value string) error {
	fd, err := unix.Openat(int(sys.Fd()), path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", strings.ReplaceAll(path, "/", "."), value, err)
	}
	return nil
}

// writeInterfaceSysctls writes settings that belong to one interface, by name; any
// other path is refused.
func writeInterfaceSysctls(sys *os.File, name string, settings map[string]string) error {
	for _, path := range slices.Sorted(maps.Keys(settings)) {
		part := strings.Split(path, "/")
		if len(part) != 5 || part[0] != "net" || part[1] != "ipv4" && part[1] != "ipv6" || part[2] != "conf" && part[2] != "neigh" ||
			part[3] != name || part[4] == "" || part[4] == "." || part[4] == ".." {
			return fmt.Errorf("sysctl %q: net/{ipv4,ipv6}/{conf,neigh}/%s/KEY was expected", path, name)
		}
		if err := writeSysctl(sys, path, settings[path]); err != nil {
			return err
		}
	}
	return nil
}

// sysctls writes the defaults and then what the user asked for.
func (a *agent) sysctls() (warnings []string, err error) {
	if !a.config.HostNetwork {
		// A new namespace copies its IPv4 settings from the host, which forwards
		// where Docker runs.
		for _, path := range [...]string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if err := writeSysctl(a.sys, path, "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		// As in Docker: low ports and ping without further rights.
		for path, value := range map[string]string{"net/ipv4/ip_unprivileged_port_start": "0", "net/ipv4/ping_group_range": "0 " + lastGID()} {
			if err := writeSysctl(a.sys, path, value); err != nil {
				warnings = append(warnings, err.Error())
			}
		}
	}
	names := make([]string, 0, len(a.config.Sysctls))
	for name := range a.config.Sysctls {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path, err := sysctlPath(name)
		if err != nil {
			return nil, err
		}
		if a.config.HostNetwork && strings.HasPrefix(path, "net/") {
			return nil, fmt.Errorf("sysctl %s: not allowed in the host's network namespace", name)
		}
		if err := writeSysctl(a.sys, path, a.config.Sysctls[name]); err != nil {
			return nil, err
		}
	}
	return warnings, nil
}

// lastGID returns the highest group id that is mapped without a gap from 0, at
// most 2^31-1, which is the highest the kernel takes here.
func lastGID() string {
	last := uint64(0)
	if b, err := os.ReadFile("/proc/self/gid_map"); err == nil {
		for _, r := range parseMap(b) {
			if r.inside <= last+1 {
				last = max(last, r.inside+r.count-1)
			}
		}
	}
	return fmt.Sprint(min(last, 1<<31-1))
}
