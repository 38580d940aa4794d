package store

import (
	"context"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A raftLogger passes raft's own log lines on. What raft calls information is a
// detail here, and so are the lines about what the store says itself (said.go). Of
// the others each is passed on when it comes first, and again when it has not come
// for raftQuiet: what it says then began anew.
type raftLogger struct {
	to   *slog.Logger
	name string
	args []any
	said *lines
}

func newRaftLogger(to *slog.Logger) *raftLogger {
	return &raftLogger{to: to, said: &lines{at: make(map[string]time.Time)}}
}

// raftQuiet is how long a line must not have come to be news.
const raftQuiet = time.Minute

// lines are when raft's lines came last, by their text without values: there are as
// many as raft has messages.
type lines struct {
	mu sync.Mutex
	at map[string]time.Time
}

// news notes a line and reports whether it is one.
func (l *lines) news(msg string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, came := l.at[msg]
	l.at[msg] = now
	return !came || now.Sub(last) >= raftQuiet
}

// details are the beginnings of raft's warnings and errors about elections, managers
// that do not answer, and those that come back and have to catch up.
func details() []string {
	return []string{
		"heartbeat timeout reached", "Election timeout reached", "failed to contact", "failed to heartbeat to",
		"failed to appendEntries to", "failed to make requestVote RPC", "failed to start pipeline replication to",
		"failed to pipeline appendEntries", "appendEntries rejected, sending older logs", "peer has newer term",
		"rejecting vote request", "rejecting pre-vote request", "no known peers, aborting election", "not part of stable configuration",
		"failed to get previous log", "previous log term mis-match", "new leader elected, stepping down",
		"failed to flush response", "failed to decode incoming command",
	}
}

// Log is part of hclog.Logger, as all that follows.
func (r *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	detail := slices.ContainsFunc(details(), func(d string) bool { return strings.HasPrefix(msg, d) })
	switch {
	case level < hclog.Warn || detail || !r.said.news(msg, time.Now()):
	case level >= hclog.Error:
		to = slog.LevelError
	default:
		to = slog.LevelWarn
	}
	r.to.Log(context.Background(), to, "raft: "+msg, args...)
}

func (r *raftLogger) Trace(msg string, args ...any) {}
func (r *raftLogger) Debug(msg string, args ...any) { r.Log(hclog.Debug, msg, args...) }
func (r *raftLogger) Info(msg string, args ...any)  { r.Log(hclog.Info, msg, args...) }
func (r *raftLogger) Warn(msg string, args ...any)  { r.Log(hclog.Warn, msg, args...) }
func (r *raftLogger) Error(msg string, args ...any) { r.Log(hclog.Error, msg, args...) }

func (r *raftLogger) IsTrace() bool { return false }
func (r *raftLogger) IsDebug() bool { return r.to.Enabled(context.Background(), slog.LevelDebug) }
func (r *raftLogger) IsInfo() bool  { return r.IsDebug() }
func (r *raftLogger) IsWarn() bool  { return true }
func (r *raftLogger) IsError() bool { return true }

func (r *raftLogger) ImpliedArgs() []any { return r.args }
func (r *raftLogger) Name() string       { return r.name }

func (r *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{r.to.With(args...), r.name, append(r.args[:len(r.args):len(r.args)], args...), r.said}
}
func (r *raftLogger) Named(name string) hclog.Logger      { return &raftLogger{r.to, name, r.args, r.said} }
func (r *raftLogger) ResetNamed(name string) hclog.Logger { return r.Named(name) }

func (r *raftLogger) SetLevel(hclog.Level)  {}
func (r *raftLogger) GetLevel() hclog.Level { return hclog.Debug }

func (r *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(r.to.Handler(), slog.LevelDebug)
}
func (r *raftLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return r.StandardLogger(o).Writer()
}
