package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logLines is how many of memberlist's warnings are logged per logWindow, each kind
// once: whoever can send datagrams can cause one with each.
const (
	logLines  = 20
	logWindow = time.Minute
)

// A logWriter hands memberlist's lines to slog by the level in front of them:
// "[WARN] memberlist: ...". Only warnings and errors pass, the first of each kind in a
// window. Errors about what came from somebody are all counted: nothing else of
// memberlist's tells of them.
type logWriter struct {
	log     *slog.Logger
	refused func()
	mu      sync.Mutex
	window  time.Time
	kinds   map[string]bool
}

func newLogger(l *slog.Logger, refused func()) *log.Logger {
	return log.New(&logWriter{log: l, refused: refused}, "", 0)
}

func (w *logWriter) Write(line []byte) (int, error) {
	n := len(line)
	level := slog.LevelDebug
	for prefix, l := range map[string]slog.Level{"[WARN] ": slog.LevelWarn, "[ERR] ": slog.LevelWarn, "[ERROR] ": slog.LevelWarn} {
		if rest, ok := bytes.CutPrefix(line, []byte(prefix)); ok {
			line, level = rest, l
		}
	}
	text := string(bytes.TrimSpace(bytes.TrimPrefix(line, []byte("memberlist: "))))
	if level != slog.LevelDebug && strings.Contains(text, "from=") {
		w.refused()
	}
	kind, _, _ := strings.Cut(text, ":")
	if level == slog.LevelDebug || !w.admit(kind, time.Now()) {
		return n, nil
	}
	w.log.Log(context.Background(), level, "gossip: "+text)
	return n, nil
}

func (w *logWriter) admit(kind string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kinds == nil || now.Sub(w.window) >= logWindow {
		w.window, w.kinds = now, make(map[string]bool)
	}
	if w.kinds[kind] || len(w.kinds) == logLines {
		return false
	}
	w.kinds[kind] = true
	return true
}
