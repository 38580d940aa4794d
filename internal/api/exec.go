package api

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
	"weft/internal/node"
)

func (s *Server) execCreate(w http.ResponseWriter, r *http.Request) error {
	var req container.ExecCreateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	switch {
	case len(req.Cmd) == 0:
		return cnm.Errorf(cnm.Invalid, "no exec command specified")
	case req.User != "":
		return cnm.Errorf(cnm.Unsupported, "weft does not support user %s: processes run as the daemon's user", clip(req.User))
	case req.Privileged:
		return cnm.Errorf(cnm.Unsupported, "weft does not support privileged processes: it has no more rights than its user")
	}
	if _, err := parseKeys(req.DetachKeys); err != nil {
		return err
	}
	id, err := s.backend.ExecCreate(r.Context(), r.PathValue("id"), node.ExecSpec{
		Cmd: req.Cmd, Env: req.Env, Dir: req.WorkingDir, TTY: req.Tty,
		Stdin: req.AttachStdin, Stdout: req.AttachStdout, Stderr: req.AttachStderr,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
	return nil
}

// execStart starts the process and joins it with the connection, unless the
// client does not want to see it.
func (s *Server) execStart(w http.ResponseWriter, r *http.Request) error {
	var req container.ExecStartRequest
	if err := decodeOptional(w, r, &req); err != nil {
		return err
	}
	e, err := s.backend.ExecInspect(r.PathValue("id"))
	if err != nil {
		return err
	}
	st, err := s.backend.ExecStart(s.base, e.ID)
	if err != nil && !req.Detach && s.endedSince(e) {
		return s.sayFailure(w, r, e, err)
	}
	if err != nil {
		return err
	}
	if e.Spec.TTY && req.ConsoleSize != nil {
		rows, cols := req.ConsoleSize[0], req.ConsoleSize[1]
		if rows <= 0xffff && cols <= 0xffff {
			_ = s.backend.ExecResize(r.Context(), e.ID, uint16(rows), uint16(cols)) // the process may have ended
		}
	}
	if req.Detach {
		s.detached(st)
		return nil
	}
	c, err := s.hijack(w, r, e.Spec.TTY)
	if err != nil {
		_ = st.Close()
		return err
	}
	o := pumpOptions{raw: e.Spec.TTY, stdin: e.Spec.Stdin, stdout: e.Spec.Stdout, stderr: e.Spec.Stderr, outlive: true}
	if o.raw {
		o.keys, _ = parseKeys("")
	}
	s.pump(c, st, o)
	return nil
}

// endedSince reports whether a start that failed was the process's end: it has an
// exit code now.
func (s *Server) endedSince(before node.ExecInfo) bool {
	e, err := s.backend.ExecInspect(before.ID)
	return err == nil && before.ExitCode == nil && e.ExitCode != nil
}

// sayFailure tells why a process did not start where its output would have been,
// as dockerd does: of a refused upgrade, Docker's clients show the status alone.
func (s *Server) sayFailure(w http.ResponseWriter, r *http.Request, e node.ExecInfo, cause error) error {
	c, err := s.hijack(w, r, e.Spec.TTY)
	if err != nil {
		return err
	}
	defer s.release(c)
	defer c.hangUp()
	fd := 2
	if !e.Spec.Stderr {
		fd = 1
	}
	_ = (&muxWriter{w: c, raw: e.Spec.TTY}).write(fd, []byte("weft: "+cause.Error()+"\r\n"))
	return nil
}

// detached keeps the stream of a process that nobody listens to, which would
// die of a closed one, until it ends or the server stops.
func (s *Server) detached(st node.Stream) {
	s.busy.Go(func() {
		defer context.AfterFunc(s.base, func() { _ = st.Close() })()
		drain(st)
		_ = st.Close()
	})
}

func (s *Server) execResize(w http.ResponseWriter, r *http.Request) error {
	rows, cols, err := querySize(r)
	if err != nil {
		return err
	}
	return s.backend.ExecResize(r.Context(), r.PathValue("id"), rows, cols)
}

func (s *Server) execInspect(w http.ResponseWriter, r *http.Request) error {
	e, err := s.backend.ExecInspect(r.PathValue("id"))
	if err != nil {
		return err
	}
	p := &container.ExecProcessConfig{Tty: e.Spec.TTY, Arguments: []string{}}
	if len(e.Spec.Cmd) > 0 {
		p.Entrypoint, p.Arguments = e.Spec.Cmd[0], append(p.Arguments, e.Spec.Cmd[1:]...)
	}
	writeJSON(w, http.StatusOK, container.ExecInspectResponse{
		ID:            e.ID,
		Running:       e.Running,
		ExitCode:      e.ExitCode,
		ProcessConfig: p,
		OpenStdin:     e.Spec.Stdin,
		OpenStdout:    e.Spec.Stdout,
		OpenStderr:    e.Spec.Stderr,
		ContainerID:   e.SandboxID,
		DetachKeys:    []byte{},
		Pid:           e.PID,
	})
	return nil
}
