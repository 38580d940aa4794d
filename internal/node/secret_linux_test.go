package node

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecretFIFO: what is no file is refused, and nothing waits for it.
func TestSecretFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := readSecret(path)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "expected a file") {
			t.Errorf("a FIFO as secret: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("waits for somebody to write the secret")
	}
}
