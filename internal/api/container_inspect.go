package api

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

// foreign names the namespace of a sandbox that weft did not make.
func foreign(s cnm.SandboxSpec) string {
	if s.Foreign.NetNS != "" {
		return "netns " + s.Foreign.NetNS
	}
	return "pid " + itoa(s.Foreign.PID)
}

// networkMode is the network that was asked for first.
func networkMode(b cnm.Sandbox) string {
	switch {
	case b.Spec.NetworkMode != "":
		return b.Spec.NetworkMode
	case len(b.Spec.Networks) > 0:
		return b.Spec.Networks[0].Network
	}
	return "none"
}

// inspect is a sandbox in GET /containers/{id}/json.
func inspect(b cnm.Sandbox) container.InspectResponse {
	s := b.Spec
	c := container.InspectResponse{
		ID:       b.ID,
		Created:  b.Created.UTC().Format(time.RFC3339Nano),
		Args:     []string{},
		State:    state(b),
		Image:    s.Image(),
		LogPath:  b.LogPath,
		Name:     "/" + s.Name,
		Driver:   "none",
		Platform: "linux",
		Mounts:   []container.MountPoint{},
		Config:   config(s),
		HostConfig: &container.HostConfig{
			NetworkMode:     container.NetworkMode(networkMode(b)),
			LogConfig:       container.LogConfig{Type: "json-file", Config: map[string]string{}},
			PortBindings:    portBindings(s),
			PublishAllPorts: s.PublishAll,
			RestartPolicy:   container.RestartPolicy{Name: container.RestartPolicyDisabled},
			AutoRemove:      s.AutoRemove,
			DNS:             slices.Clone(s.DNS),
			DNSOptions:      s.DNSOptions,
			DNSSearch:       s.DNSSearch,
			ExtraHosts:      s.ExtraHosts,
			IpcMode:         container.IPCModePrivate,
			Sysctls:         s.Sysctls,
			Runtime:         "weft",
		},
		NetworkSettings: &container.NetworkSettings{
			SandboxID:  b.ID,
			SandboxKey: b.NetNS,
			Ports:      openPorts(b),
			Networks:   endpoints(b),
		},
	}
	if len(s.Cmd) > 0 {
		c.Path, c.Args = s.Cmd[0], append(c.Args, s.Cmd[1:]...)
	}
	return c
}

func state(b cnm.Sandbox) *container.State {
	return &container.State{
		Status:     container.ContainerState(b.State),
		Running:    b.State == cnm.Running,
		Dead:       b.State == cnm.Dead,
		OOMKilled:  b.OOMKilled,
		Pid:        b.PID,
		ExitCode:   b.ExitCode,
		Error:      b.Error,
		StartedAt:  b.Started.UTC().Format(time.RFC3339Nano),
		FinishedAt: b.Finished.UTC().Format(time.RFC3339Nano),
	}
}

func config(s cnm.SandboxSpec) *container.Config {
	c := &container.Config{
		Hostname:     s.Hostname,
		Domainname:   s.Domainname,
		Tty:          s.TTY,
		OpenStdin:    s.OpenStdin,
		StdinOnce:    s.StdinOnce,
		Env:          s.Env,
		Cmd:          s.Cmd,
		Image:        s.Image(),
		WorkingDir:   s.Dir,
		Labels:       notNil(s.Labels),
		StopSignal:   s.StopSignal,
		ExposedPorts: exposedPorts(s),
	}
	if s.StopTimeout > 0 {
		t := int(s.StopTimeout / time.Second)
		c.StopTimeout = &t
	}
	return c
}
