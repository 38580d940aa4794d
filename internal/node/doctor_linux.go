package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
	"weft/tap"
)

// hostChecks looks at what weft needs of a Linux host. Nothing of it stays.
func hostChecks(highest tap.Rung) []Check {
	report := tap.Probe()
	checks := []Check{checkKernel(report), checkUserNamespaces(), checkAppArmor(), checkTun(report)}
	checks = append(checks, checkSandbox(highest)...)
	return append(checks, checkSubIDs(), checkReceiveBuffer(), checkUnderlay(), checkNsenter())
}

func checkKernel(r tap.Report) Check {
	c := good("kernel", "Linux %s", r.Kernel)
	var major, minor int
	fmt.Sscanf(r.Kernel, "%d.%d", &major, &minor)
	switch {
	case major < 5 || major == 5 && minor < 4:
		return c.fail("Linux 5.4 or later is needed")
	case r.Bug != "":
		return c.warn(r.Bug)
	case major < 6 || major == 6 && minor < 2:
		return c.warn("UDP segmentation offload needs Linux 6.2: UDP is slower here")
	}
	return c
}

// checkUserNamespaces reads the limits; that a namespace can really be made is
// what the trial sandbox shows.
func checkUserNamespaces() Check {
	c := good("user namespaces", "allowed")
	if n, err := strconv.Atoi(readKnob("/proc/sys/user/max_user_namespaces")); err == nil {
		c.Found = fmt.Sprintf("at most %d", n)
		if n == 0 {
			return c.fail("sysctl -w user.max_user_namespaces=15000")
		}
	} else {
		c.Found = "this kernel has none"
		return c.fail("a kernel with CONFIG_USER_NS is needed")
	}
	if os.Geteuid() != 0 && readKnob("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
		c.Found = "for root only"
		return c.fail("sysctl -w kernel.unprivileged_userns_clone=1")
	}
	return c
}

func checkAppArmor() Check {
	switch readKnob("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") {
	case "":
		return good("AppArmor", "no restriction of user namespaces known to this kernel")
	case "0":
		return good("AppArmor", "user namespaces are not restricted")
	}
	c := good("AppArmor", "user namespaces of ordinary users are restricted")
	if os.Geteuid() == 0 {
		return c
	}
	if profile := readKnob("/proc/self/attr/current"); profile != "" && profile != "unconfined" {
		c.Found += ", weft runs under profile " + profile
		return c
	}
	return c.fail("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for weft with the rule userns")
}

func checkTun(r tap.Report) Check {
	st, err := os.Stat(r.Device)
	if err != nil {
		return good("TUN device", "%v", err).fail("modprobe tun; inside a container, --device " + r.Device)
	}
	c := good("TUN device", "%s, mode %04o", r.Device, st.Mode().Perm())
	if r.Open != "" {
		c.Found += ": " + r.Open
		return c.fail("chmod 0666 " + r.Device + " (as most distributions have it)")
	}
	return c
}

// trialTimeout bounds the trial sandbox; it takes some 20 ms.
const trialTimeout = 10 * time.Second

// checkSandbox makes a sandbox with an interface, as `weft run` does, and ends it:
// what the knobs above promise is only true if this works.
func checkSandbox(highest tap.Rung) []Check {
	rung, err := trial(highest)
	if err != nil {
		advice := "see the checks above"
		if errors.Is(err, sandbox.ErrForbidden) {
			advice = "as the error says, and see the checks above"
		}
		return []Check{good("sandbox", "%v", err).fail(advice)}
	}
	c := good("TAP offloads", "%s", rung)
	switch {
	case rung == tap.USO:
	case rung <= highest:
		c.Found += ", the most that --tap-offload allows"
	case rung == tap.TSO:
		c = c.warn("UDP segmentation offload needs Linux 6.2: UDP is slower here")
	default:
		c = c.warn("this kernel grants no segmentation offload: TCP is much slower here")
	}
	return []Check{good("sandbox", "made one with an interface"), c}
}

// trial returns the rung a sandbox's interface came to.
func trial(highest tap.Rung) (tap.Rung, error) {
	ctx, cancel := context.WithTimeout(context.Background(), trialTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "weft-doctor-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	a, err := sandbox.Launch(ctx, sandbox.Config{ID: "doctor", Dir: filepath.Join(dir, "box"), Hostname: "doctor"})
	if err != nil {
		return 0, err
	}
	defer a.Close()
	defer a.Kill(ctx)
	d, err := a.AddInterface(ctx, sandbox.Interface{Name: "eth0", MTU: 1500, MAC: cnm.RandomMAC(), Highest: highest})
	if err != nil {
		return 0, err
	}
	defer d.Close()
	return d.Rung(), nil
}

// checkSubIDs looks whether more ids than the user's own can be mapped.
func checkSubIDs() Check {
	const name = "subordinate ids"
	if os.Geteuid() == 0 {
		return good(name, "not needed: root")
	}
	const advice = "only the user's own id exists inside sandboxes; for more, install newuidmap (package uidmap) and give the user a range: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(helper); err != nil {
			return good(name, "%s is not installed", helper).warn(advice)
		}
	}
	me, err := user.Current()
	if err != nil {
		return good(name, "%v", err).warn(advice)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if !hasRange(file, me) {
			return good(name, "%s has no range for %s", file, me.Username).warn(strings.Replace(advice, "USER", me.Username, 1))
		}
	}
	return good(name, "a range is granted to %s", me.Username)
}

// hasRange reports whether a file in the form of subuid(5) names the user.
func hasRange(file string, u *user.User) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if who, _, ok := strings.Cut(in.Text(), ":"); ok && (who == u.Username || who == u.Uid) {
			return true
		}
	}
	return false
}

// wantReceiveBuffer is the socket buffer in bytes that a fast overlay asks for.
const wantReceiveBuffer = 4 << 20

func checkReceiveBuffer() Check {
	n, err := strconv.Atoi(readKnob("/proc/sys/net/core/rmem_max"))
	if err != nil {
		// A container's own namespace does not show it.
		return good("receive buffers", "net.core.rmem_max is not visible here")
	}
	c := good("receive buffers", "at most %d bytes", n)
	if n < wantReceiveBuffer {
		return c.warn(fmt.Sprintf("for fast overlay networks: sysctl -w net.core.rmem_max=%d", wantReceiveBuffer))
	}
	return c
}

func checkNsenter() Check {
	path, err := exec.LookPath("nsenter")
	if err != nil {
		return good("nsenter", "not found").warn("install util-linux: without it, namespaces made by rootless podman or unshare cannot be attached")
	}
	return good("nsenter", "%s", path)
}
