package api

import (
	"net/http"
	"time"
)

// octets is the media type of a backup.
const octets = "application/octet-stream"

// Bounds of a backup that is restored.
const (
	maxBackup     = 1 << 30 // bytes: a million endpoints are 250 MB
	backupTimeout = 10 * time.Minute
)

// weftBackup streams a backup. One that breaks off ends the connection, so that
// nobody takes it for a whole one.
func (s *Server) weftBackup(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", octets)
	out := &writing{w: w}
	err := s.swarm.SwarmBackup(r.Context(), out)
	if err == nil || !out.begun {
		return err
	}
	s.log.Warn("a backup of the swarm broke off", "error", err)
	panic(http.ErrAbortHandler) // as net/http wants it
}

// A writing remembers that something was written.
type writing struct {
	w     http.ResponseWriter
	begun bool
}

func (o *writing) Write(b []byte) (int, error) {
	o.begun = true
	return o.w.Write(b)
}

// weftRestore reads a backup from the body.
func (s *Server) weftRestore(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(backupTimeout)) // not every ResponseWriter has deadlines
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	id, err := s.swarm.SwarmRestore(r.Context(), http.MaxBytesReader(w, r.Body, maxBackup))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, RestoreResponse{NodeID: id})
	return nil
}
