package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/moby/moby/client"

	"weft/internal/api"
)

// Whoever answers no more is recognised whatever the client's library calls it.
func TestUnreachable(t *testing.T) {
	for _, host := range []string{"unix://" + filepath.Join(t.TempDir(), "none.sock"), "tcp://127.0.0.1:1"} {
		c, err := api.NewClient(host)
		if err != nil {
			t.Fatal(err)
		}
		_, weftErr := c.Stats(t.Context())
		_, dockerErr := c.Ping(t.Context(), client.PingOptions{})
		if !unreachable(weftErr) || !unreachable(dockerErr) || !daemonGone(t.Context(), c) {
			t.Errorf("%s: %v, %v", host, weftErr, dockerErr)
		}
	}
	for _, err := range []error{nil, errors.New("no such container"), fmt.Errorf("open x: %w", io.ErrClosedPipe)} {
		if unreachable(err) {
			t.Errorf("%v is taken for a daemon that has gone", err)
		}
	}
}

// Exit codes come from what the daemon recorded, never from chance words.
func TestStartCodes(t *testing.T) {
	for recorded, want := range map[int]int{0: 125, 1: 125, 125: 125, 126: 126, 127: 127, 128: 125, 137: 125} {
		if got := startCode(recorded); got != want {
			t.Errorf("recorded %d: %d, expected %d", recorded, got, want)
		}
	}
	for _, tt := range []struct {
		cmd, said string
		want      int
	}{
		{"nope", `unable to start container process: exec: "nope": executable file not found in $PATH: program not found`, 127},
		{"/etc/passwd", `Error response from daemon: unable to start container process: exec: "/etc/passwd": permission denied: program not executable`, 126},
		{"true", `unable to start container process: chdir: sandbox rose: start: working directory /x does not exist in the sandbox`, 126},
		{"true", "interface-add: forbidden by this host: stat /dev/net/tun: no such file or directory", 125},
		{"true", "sysctl net.nope: open /proc/sys/net/nope: no such file or directory", 125},
		{"true", "failed to start rose: permission denied", 125},
		{"true", `unable to start container process: exec: "other": executable file not found in $PATH`, 125},
	} {
		if got := saidCode(tt.cmd, errors.New(tt.said)); got != tt.want {
			t.Errorf("%s: %d, expected %d", tt.said, got, tt.want)
		}
	}
}
