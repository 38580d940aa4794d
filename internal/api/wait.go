package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

// containerWait answers with the exit code once a condition holds. The headers
// leave at once: a client that has them may start the sandbox and will not
// miss its end, however short its life. So the conditions that are about the
// future listen to events from before the headers on.
func (s *Server) containerWait(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	cond := container.WaitCondition(r.URL.Query().Get("condition"))
	var ends <-chan cnm.Event
	switch cond {
	case "", container.WaitConditionNotRunning:
	case container.WaitConditionNextExit, container.WaitConditionRemoved:
		ends = s.backend.Events(ctx, time.Time{}, time.Time{})
	default:
		return cnm.Errorf(cnm.Invalid, "invalid condition: %q", clip(string(cond)))
	}
	b, err := s.backend.Sandbox(r.PathValue("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()

	var code int
	switch {
	case ends != nil:
		code, err = s.waitEvent(ctx, ends, b, cond == container.WaitConditionRemoved)
	case b.State == cnm.Running:
		code, err = s.backend.SandboxWait(ctx, b.ID, false)
	default:
		code = b.ExitCode
	}
	if ctx.Err() != nil && s.base.Err() == nil {
		return nil // nobody is there to be told
	}
	res := container.WaitResponse{StatusCode: int64(code)}
	if err != nil {
		res = container.WaitResponse{StatusCode: -1, Error: &container.WaitExitError{Message: err.Error()}}
	}
	_ = json.NewEncoder(w).Encode(res)
	return nil
}

// waitEvent waits for a sandbox's next death or for its removal, and returns
// the exit code of its last one. Where events were lost it looks at the state.
func (s *Server) waitEvent(ctx context.Context, ch <-chan cnm.Event, b cnm.Sandbox, removed bool) (int, error) {
	code := b.ExitCode
	for {
		e, ok := nextEvent(ctx, ch)
		switch {
		case !ok && ctx.Err() == nil:
			return 0, cnm.Errorf(cnm.Unavailable, "lost sight of sandbox %s: no more events", b.Spec.Name)
		case !ok:
			return 0, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
		case e.Type == "daemon":
			now, err := s.backend.Sandbox(b.ID)
			if err != nil {
				return code, nil // it was removed meanwhile
			}
			if code = now.ExitCode; !removed && now.Finished.After(b.Finished) {
				return code, nil
			}
		case e.Type != "container" || e.ActorID != b.ID:
		case e.Action == "die":
			n, err := strconv.Atoi(e.Attributes["exitCode"])
			if err != nil {
				return 0, cnm.Errorf(cnm.Unavailable, "sandbox %s ended without an exit code", b.Spec.Name)
			}
			if code = n; !removed {
				return code, nil
			}
		case e.Action == "destroy":
			return code, nil
		}
	}
}

// nextEvent waits for an event; false when there are no more or ctx ended.
func nextEvent(ctx context.Context, ch <-chan cnm.Event) (cnm.Event, bool) {
	select {
	case e, ok := <-ch:
		return e, ok
	case <-ctx.Done():
		return cnm.Event{}, false
	}
}
