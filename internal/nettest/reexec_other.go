//go:build !linux

package nettest

import (
	"runtime"
	"testing"
)

// UserName is the ordinary user tests run as on Linux.
const UserName = "wefttest"

// Namespaced skips the test: namespaces are Linux's.
func Namespaced(t *testing.T, _ func(t *testing.T)) {
	t.Helper()
	Skip(t, "network namespaces do not exist on %s", runtime.GOOS)
}

// Unprivileged runs body as whoever runs the tests.
func Unprivileged(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	body(t)
}
