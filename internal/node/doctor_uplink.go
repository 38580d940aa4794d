package node

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"weft/internal/uplink"
)

// wantFiles is how many open files let an uplink carry some tens of thousands of flows,
// each of which takes one.
const wantFiles = 65536

// uplinkChecks looks at what the way out needs of this host.
func uplinkChecks(u Uplink) []Check {
	const name = "uplink"
	switch u.Kind {
	case UplinkNone:
		return []Check{good(name, "none: nothing leaves by the networks")}
	case UplinkPacket:
		return []Check{checkPacket(name, u)}
	}
	return []Check{checkPing(name), checkFiles()}
}

// checkPacket looks whether a packet uplink can be opened, and how.
func checkPacket(name string, u Uplink) Check {
	c := u.packetConfig()
	fault := uplink.CheckPacket(c)
	if fault == nil && uplink.IsTAP(c.Interface) {
		return good(name, "%s, a TAP: packets leave under %v", u, c.Addrs)
	}
	var p *uplink.Packet
	if fault == nil {
		p, fault = uplink.OpenPacket(c)
	}
	if fault != nil {
		return good(name, "%v", fault).fail("mend what it says, or start the daemon with --uplink host")
	}
	defer p.Close()
	s := p.Stats()
	found := good(name, "%s: packets leave under %v from %s, frames %s", u, c.Addrs, p.MAC(), s.Rung)
	if s.Note != "" {
		found.Found += ": " + s.Note
		return found.warn("without a virtio header every frame is cut and summed here: use a kernel that grants packet sockets PACKET_VNET_HDR")
	}
	return found
}

// checkPing looks whether pings can leave. Without them all else does.
func checkPing(name string) Check {
	if uplink.PingSockets() != nil {
		c := good(name, "pings to the outside are answered \"administratively prohibited\": this process may open no ping sockets")
		return c.warn(`sysctl -w net.ipv4.ping_group_range="0 2147483647"`)
	}
	return good(name, "TCP, UDP and ping by sockets of this machine")
}

// checkFiles looks how many flows there may be (proc_pid_limits(5)).
func checkFiles() Check {
	return judgeFiles(ownLimits())
}

// ownLimits are those of this process; empty where they are not to be had.
func ownLimits() string {
	b, _ := os.ReadFile("/proc/self/limits")
	return string(b)
}

func judgeFiles(limits string) Check {
	const name = "open files"
	limit := fileLimit(limits)
	if limit == "" {
		return good(name, "the limit is not known here")
	}
	c := good(name, "at most %s", limit)
	if most, err := strconv.ParseUint(limit, 10, 64); err == nil && most < wantFiles {
		return c.warn(fmt.Sprintf("every connection to the outside takes one: raise the limit of this user to %d (ulimit -Hn, limits.conf(5))", wantFiles))
	}
	return c
}

// fileLimit finds the hard limit of open files, which the daemon takes for itself: a number
// or "unlimited"; empty when it does not stand there.
func fileLimit(limits string) string {
	for line := range strings.Lines(limits) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if f := strings.Fields(rest); ok && len(f) >= 2 {
			return f[1]
		}
	}
	return ""
}
