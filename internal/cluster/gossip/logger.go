package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"sync"
	"time"
)

// logLines is how many of memberlist's warnings are logged per logWindow: whoever
// can send datagrams can cause one with each.
const (
	logLines  = 20
	logWindow = time.Minute
)

// A logWriter hands memberlist's lines to slog by the level in front of them:
// "[WARN] memberlist: ...". Only warnings and errors pass, the first logLines of a
// window.
type logWriter struct {
	log    *slog.Logger
	mu     sync.Mutex
	window time.Time
	lines  int
}

func newLogger(l *slog.Logger) *log.Logger { return log.New(&logWriter{log: l}, "", 0) }

func (w *logWriter) Write(line []byte) (int, error) {
	n := len(line)
	level := slog.LevelDebug
	for prefix, l := range map[string]slog.Level{"[WARN] ": slog.LevelWarn, "[ERR] ": slog.LevelWarn, "[ERROR] ": slog.LevelWarn} {
		if rest, ok := bytes.CutPrefix(line, []byte(prefix)); ok {
			line, level = rest, l
		}
	}
	if level == slog.LevelDebug || !w.admit(time.Now()) {
		return n, nil
	}
	text := string(bytes.TrimSpace(bytes.TrimPrefix(line, []byte("memberlist: "))))
	w.log.Log(context.Background(), level, "gossip: "+text)
	return n, nil
}

func (w *logWriter) admit(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.window) >= logWindow {
		w.window, w.lines = now, 0
	}
	w.lines++
	return w.lines <= logLines
}
