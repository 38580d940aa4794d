package api

import (
	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

// refuse returns an error for what a client asked for, what the process would
// notice, and what weft does not have.
func refuse(c *container.Config, h *container.HostConfig) error {
	for _, f := range []struct {
		asked bool
		what  string
	}{
		{c.Image != "" && c.Image != cnm.NoImage, "image " + clip(c.Image) + `: weft has no images; use "scratch", and a label ` + LabelRootfs + "=DIR for another file tree"},
		{c.User != "", "user " + clip(c.User) + ": processes run as the daemon's user"},
		{len(h.Binds) > 0 || len(h.Mounts) > 0 || len(c.Volumes) > 0 || len(h.VolumesFrom) > 0 || len(h.Tmpfs) > 0,
			"mounts: a sandbox sees the whole file tree, or the one of label " + LabelRootfs},
		{h.NetworkMode.IsContainer(), "network mode " + clip(string(h.NetworkMode)) + ": join the same networks instead"},
		{!h.RestartPolicy.IsNone(), "restart policy " + clip(string(h.RestartPolicy.Name))},
		{h.PidMode != "", "pid mode " + clip(string(h.PidMode))},
		{h.UTSMode != "", "uts mode " + clip(string(h.UTSMode))},
		{h.UsernsMode != "", "userns mode " + clip(string(h.UsernsMode))},
		{!h.IpcMode.IsEmpty() && !h.IpcMode.IsPrivate(), "ipc mode " + clip(string(h.IpcMode))},
		{h.Privileged, "privileged containers: weft has no more rights than its user"},
		{h.ReadonlyRootfs, "a read-only root file system"},
		{len(h.Devices) > 0 || len(h.DeviceRequests) > 0, "devices"},
		{h.Init != nil && !*h.Init, "a sandbox without init: its first process always reaps children"},
		{c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] != "NONE", "health checks"},
	} {
		if f.asked {
			return cnm.Errorf(cnm.Unsupported, "weft does not support %s", f.what)
		}
	}
	if h.NetworkMode != "" && h.NetworkMode.IsUserDefined() {
		return nil // they are links of that network
	}
	return cnm.CheckLegacyLinks(h.Links)
}

// ignored returns a warning for each wish that is left out without the process
// noticing.
func ignored(h *container.HostConfig) []string {
	warnings := []string{}
	for _, f := range []struct {
		asked bool
		what  string
	}{
		{h.Memory != 0 || h.MemoryReservation != 0 || h.MemorySwap > 0 || h.MemorySwappiness != nil && *h.MemorySwappiness >= 0, "Memory limits"},
		{h.NanoCPUs != 0 || h.CPUShares != 0 || h.CPUQuota != 0 || h.CPUPeriod != 0 || h.CpusetCpus != "" || h.CpusetMems != "", "CPU limits"},
		{h.PidsLimit != nil && *h.PidsLimit > 0, "Process limits"},
		{h.BlkioWeight != 0 || len(h.BlkioDeviceReadBps)+len(h.BlkioDeviceWriteBps)+len(h.BlkioDeviceReadIOps)+len(h.BlkioDeviceWriteIOps) > 0, "I/O limits"},
		{len(h.Ulimits) > 0, "ulimits"},
		{len(h.CapAdd)+len(h.CapDrop) > 0, "Capabilities"},
		{len(h.SecurityOpt) > 0, "Security options"},
		{h.OomScoreAdj != 0 || h.OomKillDisable != nil && *h.OomKillDisable, "OOM settings"},
		{h.LogConfig.Type != "" && h.LogConfig.Type != "json-file", "Log drivers other than json-file"},
		{h.ShmSize > 64<<20, "Sizes of /dev/shm"},
	} {
		if f.asked {
			warnings = append(warnings, f.what+" are not supported by weft. Setting discarded.")
		}
	}
	return warnings
}
