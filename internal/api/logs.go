package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"weft/internal/cnm"
	"weft/internal/node"
)

// stampFormat is RFC 3339 with nine digits, so that log lines stay aligned
// (moby pkg/jsonmessage).
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// containerLogs sends the log, and with ?follow what comes.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) error {
	o, err := logOptions(r)
	if err != nil {
		return err
	}
	b, err := s.backend.Sandbox(r.PathValue("id"))
	if err != nil {
		return err
	}
	logs, err := s.backend.SandboxLogs(r.Context(), b.ID, o)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }()
	defer context.AfterFunc(r.Context(), func() { _ = logs.Close() })()

	w.Header().Set("Content-Type", mediaType(versionOf(r.Context()), b.Spec.TTY))
	rc := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	flush := rc.Flush
	if !o.Follow {
		flush = nil // the server's buffer is what makes a long log fast
	} else if rc.Flush() != nil {
		return nil
	}
	copyLogs(r.Context(), &muxWriter{w: w, raw: b.Spec.TTY}, logs, o.Timestamps, flush)
	return nil
}

// copyLogs writes lines until their end or the client's. An error of the log
// itself is sent as part of the stream; where that has no room for one, as the
// last line.
func copyLogs(ctx context.Context, out *muxWriter, logs node.LogReader, stamps bool, flush func() error) {
	var buf []byte
	for {
		l, err := logs.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			if ctx.Err() == nil { // it was not closed because the client or the daemon goes
				out.fail(err)
				if out.raw {
					_ = out.write(1, []byte("weft: "+err.Error()+"\r\n"))
				}
			}
			return
		}
		fd := 1
		if l.Stream == "stderr" {
			fd = 2
		}
		buf = buf[:0]
		if stamps {
			buf = append(l.Time.UTC().AppendFormat(buf, stampFormat), ' ')
		}
		buf = append(buf, l.Text...)
		if out.write(fd, buf) != nil || flush != nil && flush() != nil {
			return
		}
	}
}

func logOptions(r *http.Request) (node.LogOptions, error) {
	o := node.LogOptions{
		Follow:     queryBool(r, "follow"),
		Timestamps: queryBool(r, "timestamps"),
		Stdout:     queryBool(r, "stdout"),
		Stderr:     queryBool(r, "stderr"),
		Tail:       -1,
	}
	if !o.Stdout && !o.Stderr {
		return o, cnm.Errorf(cnm.Invalid, "Bad parameters: you must choose at least one stream")
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("tail")); err == nil && n >= 0 { // "all" and nonsense mean all, as in Docker
		o.Tail = n
	}
	var err error
	if o.Since, err = queryTime(r, "since"); err != nil {
		return o, err
	}
	if o.Until, err = queryTime(r, "until"); err != nil {
		return o, err
	}
	if o.Follow && !o.Until.IsZero() && o.Until.Before(time.Now()) {
		o.Follow = false // nothing can come any more
	}
	return o, nil
}
