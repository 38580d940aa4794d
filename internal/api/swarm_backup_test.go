package api

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// A backup crosses the API whole or is an error, and so it comes back.
func TestBackupAndRestore(t *testing.T) {
	ctx := context.Background()
	read := func(c *Client) (string, error) {
		r, err := c.BackupSwarm(ctx)
		if err != nil {
			return "", err
		}
		defer func() { _ = r.Close() }()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	b := inSwarm(t)
	_, sock := serve(t, b)
	c := newTestClient(t, "unix://"+sock)
	text, err := read(c)
	if err != nil || text != backupText {
		t.Errorf("read %q, %v", text, err)
	}
	if _, err := c.RestoreSwarm(ctx, strings.NewReader(text)); !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), "already part of a swarm") {
		t.Errorf("restored in a swarm: %v", err)
	}
	b.lock.Lock()
	b.breaks = true
	b.lock.Unlock()
	if text, err := read(c); err == nil {
		t.Errorf("half a backup was taken for a whole one: %q", text)
	}

	outside := newSwarming()
	_, sock = serve(t, outside)
	c = newTestClient(t, "unix://"+sock)
	if text, err := read(c); !errors.Is(err, cnm.Unavailable) || text != "" {
		t.Errorf("backed up outside of a swarm: %q, %v", text, err)
	}
	if _, err := c.RestoreSwarm(ctx, strings.NewReader("something")); !errors.Is(err, cnm.Invalid) || outside.SwarmInfo().State != "inactive" {
		t.Errorf("restored from something: %v", err)
	}
	if id, err := c.RestoreSwarm(ctx, strings.NewReader(backupText)); err != nil || id != selfID {
		t.Errorf("restored as %q, %v", id, err)
	}
}
