package api

import (
	"errors"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
)

// Labels that carry what Docker's create request has no field for. They stay
// on the sandbox.
const (
	LabelRootfs   = "weft.rootfs"   // directory on the daemon's host that becomes /
	LabelNetworks = "weft.networks" // names in join order, separated by commas
)

// defaultPath is Docker's PATH for processes that bring none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A createRequest is POST /containers/create, with the field for the MAC that
// clients before API 1.44 send.
type createRequest struct {
	container.CreateRequest
	MacAddress network.HardwareAddr
}

func (s *Server) containerCreate(w http.ResponseWriter, r *http.Request) error {
	var req createRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	empty := emptyBindings(req.HostConfig, versionOf(r.Context()))
	spec, warnings, err := sandboxModel(r.URL.Query().Get("name"), req)
	if err != nil {
		return err
	}
	id, more, err := s.backend.SandboxCreate(r.Context(), spec)
	if errors.Is(err, cnm.NotFound) {
		// 404 means a missing image here: Docker's CLI would go and pull it, and
		// show how that failed.
		return cnm.Errorf(cnm.Invalid, "%w", err)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.CreateResponse{ID: id, Warnings: slices.Concat(warnings, empty, more)})
	return nil
}

// sandboxModel reads a request to create a container.
func sandboxModel(name string, req createRequest) (cnm.SandboxSpec, []string, error) {
	c, h := req.Config, req.HostConfig
	if c == nil {
		return cnm.SandboxSpec{}, nil, cnm.Errorf(cnm.Invalid, "config cannot be empty in order to create a container")
	}
	if h == nil {
		h = &container.HostConfig{}
	}
	if err := refuse(c, h); err != nil {
		return cnm.SandboxSpec{}, nil, err
	}
	spec := cnm.SandboxSpec{
		Name:       strings.TrimPrefix(name, "/"),
		Hostname:   c.Hostname,
		Domainname: c.Domainname,
		Cmd:        slices.Concat(c.Entrypoint, c.Cmd),
		Env:        c.Env,
		Dir:        c.WorkingDir,
		Rootfs:     c.Labels[LabelRootfs],
		TTY:        c.Tty,
		OpenStdin:  c.OpenStdin,
		StdinOnce:  c.StdinOnce,
		AutoRemove: h.AutoRemove,
		Labels:     c.Labels,
		Sysctls:    h.Sysctls,
		ExtraHosts: h.ExtraHosts,
		DNS:        h.DNS,
		DNSSearch:  h.DNSSearch,
		DNSOptions: h.DNSOptions,
		StopSignal: c.StopSignal,
	}
	if len(spec.Cmd) == 0 {
		return spec, nil, cnm.Errorf(cnm.Invalid, "no command specified")
	}
	if !slices.ContainsFunc(spec.Env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		spec.Env = append([]string{defaultPath}, spec.Env...)
	}
	if c.StopTimeout != nil {
		spec.StopTimeout = time.Duration(*c.StopTimeout) * time.Second
	}
	warnings := ignored(h)
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, cnm.WarnHostPorts)
	}
	if err := joins(&spec, req, h); err != nil {
		return spec, nil, err
	}
	return spec, warnings, portModel(&spec, c, h)
}

// joins fills in the networks: the one of NetworkMode first, then the others
// by name, unless [LabelNetworks] gives an order.
func joins(spec *cnm.SandboxSpec, req createRequest, h *container.HostConfig) error {
	mode := string(h.NetworkMode)
	if req.NetworkDisabled {
		mode = "none"
	}
	eps := map[string]*network.EndpointSettings{}
	if req.NetworkingConfig != nil && req.NetworkingConfig.EndpointsConfig != nil {
		eps = req.NetworkingConfig.EndpointsConfig
	}
	switch {
	case mode == "none" || mode == "host":
		for n := range eps {
			if n != mode {
				return cnm.Errorf(cnm.Invalid, "conflicting options: cannot attach both user-defined and non-user-defined network-modes (%s and %s)", mode, clip(n))
			}
		}
		spec.NetworkMode = mode
		return nil
	case mode == "" || mode == "default":
		mode = "bridge"
		if _, ok := eps["default"]; ok {
			eps["bridge"] = eps["default"]
			delete(eps, "default")
		} else if len(eps) > 0 && eps["bridge"] == nil && h.NetworkMode == "" {
			mode = "" // only what the endpoints say
		}
	}
	names, err := joinOrder(mode, eps, spec.Labels[LabelNetworks])
	if err != nil {
		return err
	}
	if len(req.MacAddress) > 0 {
		eps[names[0]] = withMAC(eps[names[0]], req.MacAddress)
	}
	for _, n := range names {
		ep, err := endpointModel(eps[n])
		if err != nil {
			return err
		}
		if n == mode && len(ep.Links) == 0 {
			ep.Links = h.Links
		}
		spec.Networks = append(spec.Networks, cnm.NetworkJoin{Network: n, Config: ep})
	}
	return nil
}

// withMAC gives an endpoint the container's MAC unless it has one of its own.
func withMAC(s *network.EndpointSettings, mac network.HardwareAddr) *network.EndpointSettings {
	if s = s.Copy(); s == nil {
		s = &network.EndpointSettings{}
	}
	if len(s.MacAddress) == 0 {
		s.MacAddress = mac
	}
	return s
}

// joinOrder returns the names of the networks in the order to join them.
func joinOrder(mode string, eps map[string]*network.EndpointSettings, label string) ([]string, error) {
	var names []string
	for n := range eps {
		if n != mode {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	if mode != "" {
		names = append([]string{mode}, names...)
	}
	if label == "" {
		return names, nil
	}
	order := strings.Split(label, ",")
	sorted := slices.Sorted(slices.Values(order))
	if !slices.Equal(sorted, slices.Sorted(slices.Values(names))) {
		return nil, cnm.Errorf(cnm.Invalid, "label %s=%s must name each of the networks once: %s", LabelNetworks, clip(label), strings.Join(names, ","))
	}
	return order, nil
}
