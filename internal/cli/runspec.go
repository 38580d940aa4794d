package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"weft/internal/api"
	"weft/internal/cnm"
)

// defaultPath is the PATH of a command in a root file system of its own, as
// Docker's.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// createOptions turns flags and command into the API's request. caller is the
// caller's environment.
func (f *runFlags) createOptions(cmd, caller []string) (client.ContainerCreateOptions, error) {
	var o client.ContainerCreateOptions
	env, err := f.environment(caller)
	if err != nil {
		return o, err
	}
	dir, err := filepath.Abs(f.workdir)
	if err != nil {
		return o, fmt.Errorf("-w %s: %w", f.workdir, err)
	}
	labels := maps.Clone(f.labels.m)
	if labels == nil {
		labels = make(map[string]string)
	}
	if f.rootfs != "" {
		labels[api.LabelRootfs] = f.rootfs
	}
	attach := !f.detach
	o.Name = f.name
	o.Config = &container.Config{
		Image: cnm.NoImage, Cmd: cmd, Env: env, WorkingDir: dir, Labels: labels,
		Hostname: f.hostname, Domainname: f.domainname,
		Tty: f.tty, OpenStdin: f.interactive, StdinOnce: f.interactive && attach,
		AttachStdin: f.interactive && attach, AttachStdout: attach, AttachStderr: attach,
		StopSignal: f.stopSignal,
	}
	if f.stopTimeout != 0 {
		o.Config.StopTimeout = &f.stopTimeout
	}
	o.HostConfig = &container.HostConfig{
		AutoRemove: f.remove, DNS: f.dns.list, DNSSearch: f.dnsSearch, DNSOptions: f.dnsOptions,
		ExtraHosts: f.addHosts, Sysctls: f.sysctls.m, PublishAllPorts: f.publishAll,
	}
	if o.Config.ExposedPorts, o.HostConfig.PortBindings, err = f.ports(); err != nil {
		return o, err
	}
	f.networking(&o)
	return o, nil
}

// networking fills in the networks. The request holds them in a map; the label
// keeps their order, which is the order of the interfaces.
func (f *runFlags) networking(o *client.ContainerCreateOptions) {
	if len(f.networks.list) == 0 {
		return
	}
	order := make([]string, len(f.networks.list))
	endpoints := make(map[string]*network.EndpointSettings)
	for i, n := range f.networks.list {
		order[i] = n.name
		if n.name != "none" && n.name != "host" {
			endpoints[n.name] = n.settings()
		}
	}
	o.HostConfig.NetworkMode = container.NetworkMode(order[0])
	if len(endpoints) > 0 {
		o.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: endpoints}
	}
	if len(order) > 1 {
		o.Config.Labels[api.LabelNetworks] = strings.Join(order, ",")
	}
}

// environment is the command's: the caller's in the caller's own file tree, a
// small one in another.
func (f *runFlags) environment(caller []string) ([]string, error) {
	base := caller
	if f.rootfs != "" {
		base = []string{defaultPath, "HOME=/root"}
		if f.tty {
			base = append(base, "TERM=xterm")
		}
	}
	base = slices.DeleteFunc(slices.Clone(base), func(e string) bool {
		return strings.HasPrefix(e, "HOSTNAME=") // it is the host's
	})
	if f.hostname != "" {
		base = append(base, "HOSTNAME="+f.hostname)
	}
	return environment(base, f.envFiles, f.env, os.LookupEnv)
}
