package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

func (s *Server) containerInspect(w http.ResponseWriter, r *http.Request) error {
	b, err := s.backend.Sandbox(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, inspectFor(versionOf(r.Context()), b))
	return nil
}

func (s *Server) containerStart(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, s.backend.SandboxStart(r.Context(), r.PathValue("id")))
}

func (s *Server) containerStop(w http.ResponseWriter, r *http.Request) error {
	signal, timeout, err := stopOptions(r)
	if err != nil {
		return err
	}
	return noContent(w, s.backend.SandboxStop(r.Context(), r.PathValue("id"), signal, timeout))
}

// containerRestart stops, if there is something to stop, and starts.
func (s *Server) containerRestart(w http.ResponseWriter, r *http.Request) error {
	signal, timeout, err := stopOptions(r)
	if err != nil {
		return err
	}
	b, err := s.backend.Sandbox(r.PathValue("id"))
	if err != nil {
		return err
	}
	if b.State == cnm.Running {
		err := s.backend.SandboxStop(r.Context(), b.ID, signal, timeout)
		if err != nil && statusOf(err) != http.StatusNotModified {
			return err
		}
	}
	return noContent(w, s.backend.SandboxStart(r.Context(), b.ID))
}

// stopOptions reads ?signal and ?t, seconds to wait before killing: nil for
// the sandbox's own, negative for no end.
func stopOptions(r *http.Request) (string, *time.Duration, error) {
	signal := r.URL.Query().Get("signal")
	if r.URL.Query().Get("t") == "" {
		return signal, nil, nil
	}
	t, err := queryInt(r, "t", 0)
	d := time.Duration(t) * time.Second
	return signal, &d, err
}

func (s *Server) containerKill(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, s.backend.SandboxKill(r.Context(), r.PathValue("id"), r.URL.Query().Get("signal")))
}

func (s *Server) containerRename(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Query().Get("name"), "/")
	return noContent(w, s.backend.SandboxRename(r.Context(), r.PathValue("id"), name))
}

func (s *Server) containerRemove(w http.ResponseWriter, r *http.Request) error {
	if queryBool(r, "link") { // it means a link, not the container
		return cnm.Errorf(cnm.Unsupported, "links of containers are not supported: there is none to remove")
	}
	return noContent(w, s.backend.SandboxRemove(r.Context(), r.PathValue("id"), queryBool(r, "force")))
}

func (s *Server) containerResize(w http.ResponseWriter, r *http.Request) error {
	rows, cols, err := querySize(r)
	if err != nil {
		return err
	}
	return s.backend.SandboxResize(r.Context(), r.PathValue("id"), rows, cols)
}

// noContent answers 204 unless there was an error.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// containerPrune removes what does not run. One that comes to life or goes
// away meanwhile is passed over, as by Docker.
func (s *Server) containerPrune(w http.ResponseWriter, r *http.Request) error {
	f, err := requestFilters(r, "label", "label!", "until")
	if err != nil {
		return err
	}
	until, err := f.until(time.Now())
	if err != nil {
		return err
	}
	report := container.PruneReport{}
	for _, b := range s.backend.Sandboxes() {
		if b.State == cnm.Running || !f.labels("label", b.Spec.Labels) || !f.noLabels("label!", b.Spec.Labels) ||
			!until.IsZero() && !b.Created.Before(until) {
			continue
		}
		if err := s.backend.SandboxRemove(r.Context(), b.ID, false); err != nil {
			s.log.Warn("prune passed over a sandbox", "sandbox", b.Spec.Name, "error", err)
			continue
		}
		report.ContainersDeleted = append(report.ContainersDeleted, b.ID)
	}
	writeJSON(w, http.StatusOK, report)
	return nil
}
