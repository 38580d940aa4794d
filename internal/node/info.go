package node

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"weft/internal/cnm"
	"weft/internal/ipam"
	"weft/tap"
)

// Info describes the node and its host.
func (n *Node) Info() Info {
	i := Info{
		ID: n.id, Version: n.cfg.Version, Kernel: readKnob("/proc/sys/kernel/osrelease"), OS: osName(), CPUs: runtime.NumCPU(), MemTotal: memTotal(),
		DataDir: n.cfg.DataDir, RunDir: n.cfg.RunDir, Rootless: os.Geteuid() > 0, Started: n.started, PID: os.Getpid(),
		Workers: len(n.path.workers), EventsDropped: n.events.lostTotal(), Pools: n.pools(),
		Uplink: n.cfg.Uplink.String(), HostLoopback: n.cfg.HostLoopback,
	}
	i.Name, _ = os.Hostname()
	n.path.mu.Lock()
	i.Ports = len(n.path.ports)
	var best *tap.Device
	for _, lp := range n.path.ports {
		if lp.device != nil && (best == nil || lp.device.Rung() < best.Rung()) {
			best = lp.device
		}
	}
	if best != nil {
		i.Rung = best.Rung().String()
	}
	n.path.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	i.Networks, i.Sandboxes = len(n.networks), len(n.boxes)
	for _, b := range n.boxes {
		if b.sb.State == cnm.Running {
			i.Running++
		}
	}
	i.Stopped = i.Sandboxes - i.Running
	return i
}

// pools are the address pools networks without a subnet are cut from.
func (n *Node) pools() []AddressPool {
	if len(n.cfg.Pools) > 0 {
		return n.cfg.Pools
	}
	var out []AddressPool
	for _, r := range ipam.Defaults() {
		out = append(out, AddressPool{Base: r.Base, Size: r.Size})
	}
	return out
}

// osName is PRETTY_NAME of os-release(5), or the name Go has for the system.
func osName() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return runtime.GOOS
}

// memTotal is the host's memory in bytes, 0 when it is not known (proc_meminfo(5)).
func memTotal() int64 {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}
