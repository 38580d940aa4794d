package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The knobs by which hosts forbid user namespaces.
const (
	knobUserns   = "/proc/sys/kernel/unprivileged_userns_clone"             // Debian
	knobAppArmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns" // Ubuntu 23.10 on
	knobMax      = "/proc/sys/user/max_user_namespaces"
)

func knob(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func forbidden(what, how string, err error) error {
	return fmt.Errorf("%w: %s: %s (%w)", ErrForbidden, what, how, err)
}

// explainClone says why the namespaces could not be made.
func explainClone(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return forbidden("no further user, network or other namespace may be made", "raise "+knobMax+" and its neighbours, e.g. sysctl -w user.max_user_namespaces=15000", err)
	case errors.Is(err, unix.EPERM) && knob(knobUserns) == "0":
		return forbidden("user namespaces are for root only", "sysctl -w kernel.unprivileged_userns_clone=1", err)
	case errors.Is(err, unix.EPERM) && knob(knobAppArmor) == "1":
		return explainAppArmor(err)
	case errors.Is(err, unix.EPERM):
		return forbidden("clone with CLONE_NEWUSER was refused", "inside a container, allow it in the container's seccomp profile (--security-opt seccomp=unconfined); in a chroot it is never possible", err)
	case errors.Is(err, unix.EINVAL):
		return forbidden("this kernel lacks user or network namespaces", "CONFIG_USER_NS and CONFIG_NET_NS are needed", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES):
		return fmt.Errorf("start agent: %w", err)
	}
	return fmt.Errorf("clone namespaces: %w", err)
}

func explainAppArmor(err error) error {
	return forbidden("AppArmor takes the rights away that a user namespace gives", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for weft with the rule userns", err)
}

// explainMap says why the id map could not be written.
func explainMap(err error) error {
	if errors.Is(err, unix.EPERM) && os.Geteuid() == 0 {
		return forbidden("root here lacks CAP_SETUID or CAP_SETGID", "give the container these capabilities or run weft as an ordinary user", err)
	}
	return fmt.Errorf("map user ids: %w", err)
}

// explainSetup says more about an agent's failure where the host is to blame.
func explainSetup(err error) error {
	if errors.Is(err, ErrForbidden) && os.Geteuid() != 0 && knob(knobAppArmor) == "1" {
		return explainAppArmor(err)
	}
	return err
}

// explainMount names what forbids a mount inside.
func explainMount(what string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return forbidden("mount "+what, "Linux 5.4 or later is needed", err)
	case what == "proc" && errors.Is(err, unix.EPERM):
		return forbidden("mount "+what, "the /proc that weft sees has parts covered by other mounts, as in a container; run that container with --security-opt systempaths=unconfined, or --privileged", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return forbidden("mount "+what, "a security module may be in the way", err)
	}
	return fmt.Errorf("mount %s: %w", what, err)
}

// explainTap says why there is no TAP.
func explainTap(err error) error {
	const device = "/dev/net/tun"
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return forbidden(device+" is missing", "modprobe tun; inside a container, --device "+device, err)
	case errors.Is(err, unix.EACCES):
		return forbidden(device+" may not be opened", "chmod 0666 "+device, err)
	case errors.Is(err, unix.EPERM):
		return forbidden("no TAP may be made here", "inside a container, --device "+device+" and its device cgroup are needed", err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("an interface of this name exists: %w", err)
	}
	return err
}
