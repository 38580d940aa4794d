package api

import (
	"net/http"

	"weft/internal/cnm"
	"weft/internal/node"
)

// containerAttach joins the connection with the main process. It may come
// before the start: nothing of the output is missed then.
func (s *Server) containerAttach(w http.ResponseWriter, r *http.Request) error {
	b, err := s.backend.Sandbox(r.PathValue("id"))
	if err != nil {
		return err
	}
	if b.Spec.Foreign != nil {
		return cnm.Errorf(cnm.Conflict, "sandbox %s is a foreign namespace: weft does not hold its processes' input and output", b.Spec.Name)
	}
	keys, err := parseKeys(r.URL.Query().Get("detachKeys"))
	if err != nil {
		return err
	}
	stream := queryBool(r, "stream")
	o := pumpOptions{
		raw:    b.Spec.TTY,
		stdin:  stream && queryBool(r, "stdin") && b.Spec.OpenStdin,
		stdout: queryBool(r, "stdout"),
		stderr: queryBool(r, "stderr"),
	}
	if o.raw {
		o.keys = keys
	}
	logs := queryBool(r, "logs")
	if !stream {
		if !logs {
			return cnm.Errorf(cnm.Invalid, "bad parameters: choose at least one of stream and logs")
		}
		return s.attachLogs(w, r, b, o)
	}
	// The stream outlives the request's context, which ends with the hijack
	// in some servers: its end is pump's.
	st, err := s.backend.SandboxAttach(s.base, b.ID, node.AttachOptions{
		Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr, Logs: logs,
	})
	if err != nil {
		return err
	}
	c, err := s.hijack(w, r, o.raw)
	if err != nil {
		_ = st.Close()
		return err
	}
	s.pump(c, st, o)
	return nil
}

// attachLogs sends what the log holds and hangs up. The log's end is that of the
// request: it is fixed by opening the reader, which comes before the answer.
func (s *Server) attachLogs(w http.ResponseWriter, r *http.Request, b cnm.Sandbox, o pumpOptions) error {
	logs, err := s.backend.SandboxLogs(r.Context(), b.ID, node.LogOptions{Tail: -1, Stdout: o.stdout, Stderr: o.stderr})
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }()
	c, err := s.hijack(w, r, o.raw)
	if err != nil {
		return err
	}
	defer s.release(c)
	defer c.hangUp()
	copyLogs(s.base, &muxWriter{w: c, raw: o.raw}, logs, false, nil)
	return nil
}
