package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"weft/internal/cnm"
)

// events streams what happens, one JSON object after the other.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	since, err := queryTime(r, "since")
	if err != nil {
		return err
	}
	until, err := queryTime(r, "until")
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return cnm.Errorf(cnm.Invalid, "`since` time (%d.%09d) cannot be after `until` time (%d.%09d)",
			since.Unix(), since.Nanosecond(), until.Unix(), until.Nanosecond())
	}
	f, err := requestFilters(r, "config", "container", "daemon", "event", "image", "label", "network", "node",
		"plugin", "scope", "secret", "service", "type", "volume")
	if err != nil {
		return err
	}
	if since.IsZero() && !until.IsZero() && until.Before(time.Now()) {
		until = time.Now() // nothing to look back on and nothing to wait for
	}
	ch := s.backend.Events(r.Context(), since, until)
	w.Header().Set("Content-Type", "application/json")
	rc := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush()
	enc := json.NewEncoder(w)
	for {
		e, ok := nextEvent(r.Context(), ch)
		if !ok {
			return nil
		}
		if !eventWanted(f, e) {
			continue
		}
		if enc.Encode(eventMessage(versionOf(r.Context()), e)) != nil || rc.Flush() != nil {
			return nil // the context ends with the connection, and the channel with it
		}
	}
}

// eventWanted applies the filters (moby daemon/events/filter.go).
func eventWanted(f filters, e cnm.Event) bool {
	action, _, _ := strings.Cut(e.Action, ":") // "exec_start: CMD" is found as exec_start
	return f.exact("type", e.Type) && f.exact("event", e.Action, action) && f.exact("scope", "local") &&
		actorWanted(f, e, "container") && actorWanted(f, e, "network") && noneWanted(f) &&
		f.labels("label", e.Attributes)
}

// actorWanted filters by the object of one type: its ID, a prefix of it, or
// its name. Network events are also found by the sandbox that joined or left.
func actorWanted(f filters, e cnm.Event, key string) bool {
	if !f.has(key) {
		return true
	}
	if key == "container" && e.Type == "network" {
		return f.exact(key, e.Attributes["container"])
	}
	if e.Type != key {
		return false
	}
	for _, v := range f[key] {
		if v.text == e.Attributes["name"] || strings.HasPrefix(e.ActorID, v.text) {
			return true
		}
	}
	return false
}

// noneWanted reports whether no kind of object was asked for that weft never
// has events of.
func noneWanted(f filters) bool {
	for _, key := range []string{"config", "daemon", "image", "node", "plugin", "secret", "service", "volume"} {
		if f.has(key) {
			return false
		}
	}
	return true
}

// A legacyMessage is an event as it was before API 1.52.
type legacyMessage struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

// eventMessage is an event in the shape of an API version.
func eventMessage(v version, e cnm.Event) any {
	m := events.Message{
		Type:     events.Type(e.Type),
		Action:   events.Action(e.Action),
		Actor:    events.Actor{ID: e.ActorID, Attributes: e.Attributes},
		Scope:    "local",
		Time:     e.Time.Unix(),
		TimeNano: e.Time.UnixNano(),
	}
	if v >= slimNetwork || e.Type != "container" {
		return m
	}
	return legacyMessage{Status: e.Action, ID: e.ActorID, From: e.Attributes["image"], Message: m}
}
