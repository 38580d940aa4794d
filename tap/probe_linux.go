package tap

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Probe tries what this host grants by making interfaces that vanish again at
// once. It looks from the calling thread's network namespace: where the caller
// lacks CAP_NET_ADMIN, the rungs say so, and the probe is to be repeated inside
// a namespace that the user owns.
func Probe() Report {
	r := Report{Kernel: release(), Device: cloneDevice}
	r.Bug = knownBug(r.Kernel)
	if fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		r.Open = err.Error()
	} else {
		unix.Close(fd)
	}
	for rung := USO; rung <= Water; rung++ {
		r.Rungs = append(r.Rungs, RungReport{Rung: rung.String(), Error: probe(Options{Queues: 1}, rung)})
	}
	r.MultiQueue = probe(Options{Queues: 2}, TSO)
	r.NAPI = probe(Options{Queues: 1, NAPI: true}, TSO)
	return r
}

// probe opens a device on exactly one rung and returns why that fails.
func probe(o Options, rung Rung) string {
	o.Name = "weftprobe%d"
	name, fds, err := openRung(o, rung)
	if err != nil {
		return err.Error()
	}
	d := newDevice(name, rung, fds)
	defer d.Close()
	if rung.header() {
		d.sample()
	}
	if d.Rung() != rung {
		return "granted, but superframes are refused"
	}
	return ""
}

func release() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}

// knownBug names the fault of a kernel release that probing cannot find.
func knownBug(release string) string {
	var major, minor, patch int
	fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch)
	at := major*1_000_000 + minor*1_000 + patch
	switch {
	case at >= 7_000_000 && at < 7_001_005:
		return "Linux 7.0 to 7.1.4 damages UDP superframes whose segments are all of one size; start without UDP segmentation"
	case at < 6_008_005:
		return "Linux before 6.8.5 may damage VXLAN inside a TAP when UDP receive offload is on; nested overlays only"
	}
	return ""
}
