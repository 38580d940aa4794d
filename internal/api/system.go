package api

import (
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"

	"weft/internal/node"
)

// ping answers GET and HEAD /_ping: the headers every answer has say it all.
func (s *Server) ping(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Swarm", swarmStatus(s.swarm.SwarmInfo()))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return nil
	}
	_, _ = io.WriteString(w, "OK")
	return nil
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, versionResponse(s.backend.Info()))
	return nil
}

func (s *Server) info(w http.ResponseWriter, r *http.Request) error {
	info := systemInfo(s.backend.Info(), time.Now())
	info.Swarm = s.swarmInfo(r.Context())
	writeJSON(w, http.StatusOK, info)
	return nil
}

func versionResponse(i node.Info) system.VersionResponse {
	commit, built := buildInfo()
	v := system.VersionResponse{
		Platform:      system.PlatformInfo{Name: "weft"},
		Version:       i.Version,
		APIVersion:    Version,
		MinAPIVersion: MinVersion,
		Os:            runtime.GOOS,
		Arch:          runtime.GOARCH,
		GitCommit:     commit,
		GoVersion:     runtime.Version(),
		KernelVersion: i.Kernel,
		BuildTime:     built,
	}
	v.Components = []system.ComponentVersion{{
		Name:    "Engine", // the docker command prints the rest only under this name
		Version: i.Version,
		Details: map[string]string{
			"ApiVersion": Version, "MinAPIVersion": MinVersion, "Os": v.Os, "Arch": v.Arch, "GitCommit": commit,
			"GoVersion": v.GoVersion, "KernelVersion": i.Kernel, "BuildTime": built, "Experimental": "false",
		},
	}}
	return v
}

// buildInfo returns what the toolchain noted about the source.
func buildInfo() (commit, when string) {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.time":
			when = s.Value
		}
	}
	return commit, when
}

// systemInfo is GET /info. What Docker asks about images, cgroups and runtimes
// has no answer here; the CLI prints those it finds empty as unknown.
func systemInfo(i node.Info, now time.Time) system.Info {
	info := system.Info{
		ID:                i.ID,
		Name:              i.Name,
		ServerVersion:     i.Version,
		Containers:        i.Sandboxes,
		ContainersRunning: i.Running,
		ContainersStopped: i.Stopped,
		Driver:            "none",
		DriverStatus: [][2]string{
			{"Networks", itoa(i.Networks)}, {"Ports", itoa(i.Ports)}, {"Workers", itoa(i.Workers)}, {"Offload", i.Rung}, {"Uplink", i.Uplink},
		},
		Plugins: system.PluginsInfo{
			Volume: []string{}, Network: []string{"bridge", "host", "null", "overlay"}, Authorization: []string{}, Log: []string{"json-file"},
		},
		IPv4Forwarding:  true, // by the switch, whatever the host's setting
		NGoroutines:     runtime.NumGoroutine(),
		SystemTime:      now.Format(time.RFC3339Nano),
		LoggingDriver:   "json-file",
		CgroupDriver:    "none",
		KernelVersion:   i.Kernel,
		OperatingSystem: i.OS,
		OSType:          runtime.GOOS,
		Architecture:    machine(runtime.GOARCH),
		RegistryConfig:  &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{}},
		NCPU:            i.CPUs,
		MemTotal:        i.MemTotal,
		DockerRootDir:   i.DataDir,
		Labels:          []string{},
		Runtimes:        map[string]system.RuntimeWithStatus{"weft": {Runtime: system.Runtime{Path: "weft"}}},
		DefaultRuntime:  "weft",
		// Sandboxes go on while the daemon is restarted.
		LiveRestoreEnabled: true,
		SecurityOptions:    []string{},
		CDISpecDirs:        []string{},
		Warnings:           []string{"WARNING: weft sets no limits on CPU, memory and processes"},
	}
	if i.Rootless {
		info.SecurityOptions = append(info.SecurityOptions, "name=rootless")
	}
	for _, p := range i.Pools {
		info.DefaultAddressPools = append(info.DefaultAddressPools, system.NetworkAddressPool{Base: p.Base, Size: p.Size})
	}
	return info
}

// machine returns the kernel's name of an architecture, as in uname -m.
func machine(goarch string) string {
	return strings.NewReplacer("amd64", "x86_64", "arm64", "aarch64", "386", "i686").Replace(goarch)
}
