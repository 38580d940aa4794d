package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/moby/moby/api/types/common"

	"weft/internal/cnm"
)

// statusOf returns the HTTP status for an error from the backend or from the
// request's own parsing.
func statusOf(err error) int {
	switch {
	case errors.Is(err, cnm.Invalid):
		return http.StatusBadRequest
	case errors.Is(err, cnm.NotFound):
		return http.StatusNotFound
	case errors.Is(err, cnm.Conflict):
		return http.StatusConflict
	case errors.Is(err, cnm.Forbidden):
		return http.StatusForbidden
	case errors.Is(err, cnm.NotModified):
		return http.StatusNotModified
	case errors.Is(err, cnm.Unavailable):
		return http.StatusServiceUnavailable
	case errors.Is(err, cnm.Unsupported):
		return http.StatusNotImplemented
	case errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable // the client has gone or the daemon is stopping
	}
	return http.StatusInternalServerError
}

// writeError answers with Docker's error object.
func writeError(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status == http.StatusNotModified {
		w.WriteHeader(status) // RFC 9110 15.4.5: no body
		return
	}
	writeJSON(w, status, common.ErrorResponse{Message: err.Error()})
}

// writeJSON answers with v. A client that has gone is nobody's error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
