package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"weft/internal/cnm"
)

// containerList answers GET /containers/json: the newest first, only running
// ones unless all, a limit, or a filter on the state says otherwise.
func (s *Server) containerList(w http.ResponseWriter, r *http.Request) error {
	f, err := requestFilters(r, "ancestor", "before", "expose", "exited", "health", "id", "isolation", "is-task",
		"label", "name", "network", "publish", "since", "status", "volume")
	if err != nil {
		return err
	}
	limit, err := queryInt(r, "limit", 0)
	if err != nil {
		return err
	}
	l := listing{filters: f, all: queryBool(r, "all") || limit > 0 || f.has("status") || f.has("exited")}
	if err := l.bounds(s.backend); err != nil {
		return err
	}
	all := slices.Clone(s.backend.Sandboxes())
	slices.SortStableFunc(all, func(a, b cnm.Sandbox) int { return b.Created.Compare(a.Created) })
	list := []container.Summary{}
	for _, b := range all {
		if limit > 0 && len(list) == limit {
			break
		}
		if l.wanted(b) {
			list = append(list, summary(b, time.Now()))
		}
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// A listing is which sandboxes a client wants to see (moby daemon/list.go).
type listing struct {
	filters
	all           bool
	codes         []int // of filter exited
	ports         portFilter
	before, since time.Time // creation of the sandboxes named there
}

// bounds reads the filters that are more than words.
func (l *listing) bounds(b Backend) (err error) {
	if l.ports, err = parsePortFilter(l.filters); err != nil {
		return err
	}
	for _, v := range l.filters["exited"] {
		code, err := strconv.Atoi(v.text)
		if err != nil {
			return cnm.Errorf(cnm.Invalid, "invalid filter 'exited=%s': expected a number", clip(v.text))
		}
		l.codes = append(l.codes, code)
	}
	for _, v := range l.filters["status"] {
		if err := container.ValidateContainerState(container.ContainerState(v.text)); err != nil {
			return cnm.Errorf(cnm.Invalid, "invalid filter 'status=%s'", clip(v.text))
		}
	}
	for key, t := range map[string]*time.Time{"before": &l.before, "since": &l.since} {
		for _, v := range l.filters[key] {
			ref, err := b.Sandbox(v.text)
			if err != nil {
				return err
			}
			*t = ref.Created
		}
	}
	return nil
}

func (l *listing) wanted(b cnm.Sandbox) bool {
	switch {
	case !l.all && b.State != cnm.Running,
		!l.before.IsZero() && !b.Created.Before(l.before),
		!l.since.IsZero() && !b.Created.After(l.since),
		len(l.codes) > 0 && (b.State != cnm.Exited || !slices.Contains(l.codes, b.ExitCode)),
		l.has("volume"), // nothing has any
		!l.ports.match(b):
		return false
	}
	return l.match("id", b.ID) && l.match("name", b.Spec.Name, "/"+b.Spec.Name) && l.labels("label", b.Spec.Labels) &&
		l.exact("status", string(b.State)) && l.exact("health", "none") && l.exact("is-task", "false") &&
		l.exact("ancestor", b.Spec.Image()) && l.exact("network", networkRefs(b)...)
}

// networkRefs returns the names and IDs of the networks a sandbox is on.
func networkRefs(b cnm.Sandbox) []string {
	refs := []string{b.Spec.NetworkMode}
	for _, j := range b.Spec.Networks {
		refs = append(refs, j.Network)
	}
	for _, e := range b.Joined() {
		refs = append(refs, e.Network, e.NetworkID)
	}
	return refs
}

// summary is a sandbox in GET /containers/json.
func summary(b cnm.Sandbox, now time.Time) container.Summary {
	c := container.Summary{
		ID:              b.ID,
		Names:           []string{"/" + b.Spec.Name},
		Image:           b.Spec.Image(),
		Command:         command(b.Spec),
		Created:         b.Created.Unix(),
		Ports:           portSummaries(b),
		Labels:          notNil(b.Spec.Labels),
		State:           container.ContainerState(b.State),
		Status:          status(b, now),
		Mounts:          []container.MountPoint{},
		NetworkSettings: &container.NetworkSettingsSummary{Networks: endpoints(b)},
	}
	c.HostConfig.NetworkMode = networkMode(b)
	return c
}

// command is what the process was started as, in one line; arguments with
// spaces are quoted as by Docker.
func command(s cnm.SandboxSpec) string {
	if s.Foreign != nil {
		return foreign(s)
	}
	words := slices.Clone(s.Cmd)
	for i, w := range words {
		if i > 0 && strings.Contains(w, " ") {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

// status is the state in words, as `docker ps` prints it.
func status(b cnm.Sandbox, now time.Time) string {
	switch b.State {
	case cnm.Running:
		return "Up " + units.HumanDuration(now.Sub(b.Started))
	case cnm.Exited:
		return "Exited (" + itoa(b.ExitCode) + ") " + units.HumanDuration(now.Sub(b.Finished)) + " ago"
	case cnm.Dead:
		return "Dead"
	}
	return "Created"
}

func itoa(n int) string { return strconv.Itoa(n) }

// endpoints returns a sandbox's networks by name: as they are, and where a
// sandbox has not joined yet, as they are wanted.
func endpoints(b cnm.Sandbox) map[string]*network.EndpointSettings {
	m := map[string]*network.EndpointSettings{}
	if b.Spec.NetworkMode != "" {
		m[b.Spec.NetworkMode] = &network.EndpointSettings{}
	}
	for _, j := range b.Spec.Networks {
		m[j.Network] = wantedSettings(j.Config)
	}
	for _, e := range b.Joined() {
		m[e.Network] = endpointSettings(e)
	}
	return m
}
