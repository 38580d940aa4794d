package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"weft/internal/cnm"
)

// The API versions answered. Version is that of github.com/moby/moby/api,
// whose types are on the wire; MinVersion is that of Debian 12's docker.io.
const (
	Version    = "1.56"
	MinVersion = "1.41"
)

// A version is an API version 1.minor; only the minor part ever changed.
type version int

// The same as numbers, and the versions at which shapes changed.
const (
	current version = 56
	oldest  version = 41

	multiplexed version = 42 // streams name their framing in Content-Type
	emptyIsNone version = 53 // an empty list of port bindings no longer means any port
	slimNetwork version = 52 // NetworkSettings lost its single-network fields, events their id, status, from
)

// parseVersion reads "1.44". Major versions other than 1 do not exist.
func parseVersion(s string) (version, bool) {
	minor, ok := strings.CutPrefix(s, "1.")
	if !ok || len(minor) > 3 {
		return 0, false
	}
	n, err := strconv.ParseUint(minor, 10, 16)
	return version(n), err == nil
}

// splitVersion takes /vX.Y from the front of a path and returns the rest. The
// words of the errors are Docker's (moby daemon/server/middleware/version.go).
func splitVersion(path string) (version, string, error) {
	head, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	s, ok := strings.CutPrefix(head, "v")
	if !ok || !isVersion(s) {
		return current, path, nil
	}
	v, ok := parseVersion(s)
	switch {
	case !ok && strings.HasPrefix(s, "0."), ok && v < oldest:
		return 0, "", cnm.Errorf(cnm.Invalid, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", s, MinVersion)
	case !ok, v > current:
		return 0, "", cnm.Errorf(cnm.Invalid, "client version %s is too new. Maximum supported API version is %s", s, Version)
	}
	return v, "/" + rest, nil
}

// trimVersion takes the first element off an escaped path that has one.
func trimVersion(raw string) string {
	if _, rest, ok := strings.Cut(strings.TrimPrefix(raw, "/"), "/"); ok {
		return "/" + rest
	}
	return ""
}

// isVersion reports whether s has the form of digits, a dot and digits.
func isVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	return ok && isDigits(major) && isDigits(minor)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// String returns the version as it is in paths.
func (v version) String() string { return fmt.Sprintf("1.%d", int(v)) }

type versionKey struct{}

// withVersion makes v the version of a request.
func withVersion(ctx context.Context, v version) context.Context {
	return context.WithValue(ctx, versionKey{}, v)
}

// versionOf returns the version that a request was made in.
func versionOf(ctx context.Context) version {
	v, _ := ctx.Value(versionKey{}).(version)
	return v
}
