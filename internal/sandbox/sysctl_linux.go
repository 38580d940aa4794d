package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// checkSysctlPath keeps a path below /proc/sys. Which settings are a sandbox's own
// is not decided here.
func checkSysctlPath(path string) error {
	if !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return fmt.Errorf("sysctl %q: a path below /proc/sys such as net/ipv4/ip_forward was expected", path)
	}
	return nil
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
	for _, path := range slices.Sorted(maps.Keys(a.config.Sysctls)) {
		if err := checkSysctlPath(path); err != nil {
			return nil, err
		}
		if a.config.HostNetwork && strings.HasPrefix(path, "net/") {
			return nil, fmt.Errorf("sysctl %s: not allowed in the host's network namespace", path)
		}
		if err := writeSysctl(a.sys, path, a.config.Sysctls[path]); err != nil {
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
