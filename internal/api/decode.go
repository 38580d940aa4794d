package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weft/internal/cnm"
)

// Bounds on what a client may send.
const (
	maxBody     = 4 << 20          // bytes of a JSON body
	maxHeader   = 256 << 10        // bytes of request line and headers; filters are in the line
	bodyTimeout = 30 * time.Second // for a whole body to arrive
)

// decode reads a JSON body into v. Unknown fields are ignored, as by Docker.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" || r.ContentLength > 0 {
		if media, _, _ := mime.ParseMediaType(ct); media != "application/json" {
			return cnm.Errorf(cnm.Invalid, "unsupported Content-Type header (%s): must be 'application/json'", ct)
		}
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every ResponseWriter has deadlines
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()

	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	switch err := d.Decode(v); {
	case errors.Is(err, io.EOF):
		return cnm.Errorf(cnm.Invalid, "invalid JSON: got EOF while reading request body")
	case errors.As(err, new(*http.MaxBytesError)):
		return err
	case err != nil:
		return cnm.Errorf(cnm.Invalid, "invalid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return cnm.Errorf(cnm.Invalid, "unexpected content after JSON")
	}
	return nil
}

// decodeOptional is decode for requests that may have no body at all.
func decodeOptional(w http.ResponseWriter, r *http.Request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	return decode(w, r, v)
}

// queryBool reads a flag as Docker does: everything but these words is true.
func queryBool(r *http.Request, key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.URL.Query().Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// queryInt reads an integer, def when it is not given.
func queryInt(r *http.Request, key string, def int) (int, error) {
	s := r.URL.Query().Get(key)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, cnm.Errorf(cnm.Invalid, "%s must be a number, got %q", key, s)
	}
	return n, nil
}

// queryTime reads a point in time: seconds since 1970 with an optional
// fraction, or RFC 3339. The zero time means it is not given.
func queryTime(r *http.Request, key string) (time.Time, error) {
	return parseTime(key, r.URL.Query().Get(key))
}

func parseTime(key, s string) (time.Time, error) {
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	sec, frac, _ := strings.Cut(s, ".")
	if n, err := strconv.ParseInt(sec, 10, 64); err == nil && (frac == "" || isDigits(frac)) && len(frac) <= 9 {
		nsec, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		return time.Unix(n, nsec), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, cnm.Errorf(cnm.Invalid, "%s must be seconds since 1970 or RFC 3339, got %q", key, s)
	}
	return t, nil
}

// querySize reads a terminal's size.
func querySize(r *http.Request) (rows, cols uint16, err error) {
	h, err1 := strconv.ParseUint(r.URL.Query().Get("h"), 10, 16)
	w, err2 := strconv.ParseUint(r.URL.Query().Get("w"), 10, 16)
	if err1 != nil || err2 != nil {
		return 0, 0, cnm.Errorf(cnm.Invalid, "h and w must be numbers from 0 to 65535, got %q and %q", r.URL.Query().Get("h"), r.URL.Query().Get("w"))
	}
	return uint16(h), uint16(w), nil
}
