package node

import (
	"context"
	"errors"
	"strings"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

const (
	// maxExecs bounds the executions remembered: of those that do not run the
	// oldest are forgotten first.
	maxExecs = 1024
	// maxRunningExecs bounds those that run in one sandbox.
	maxRunningExecs = 256
)

// An execution is a further process of a sandbox, planned, running or ended.
// Guarded by Node.mu.
type execution struct {
	info   ExecInfo
	number uint64 // order of creation
	handle *sandbox.Exec
	begun  bool
	done   chan struct{} // closed when it has ended
}

// ExecCreate plans a further process in a running sandbox.
func (n *Node) ExecCreate(_ context.Context, ref string, spec ExecSpec) (string, error) {
	if len(spec.Cmd) == 0 || spec.Cmd[0] == "" {
		return "", cnm.Errorf(cnm.Invalid, "No exec command specified")
	}
	for _, e := range spec.Env {
		if k, _, _ := strings.Cut(e, "="); k == "" || strings.ContainsRune(e, 0) {
			return "", cnm.Errorf(cnm.Invalid, "invalid environment variable: %q", e)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := n.findBoxLocked(ref)
	if err != nil {
		return "", err
	}
	if err := own(&b.sb, "entered", "use nsenter"); err != nil {
		return "", err
	}
	if b.agent == nil || b.sb.State != cnm.Running {
		return "", cnm.Errorf(cnm.Conflict, "container %s is not running", b.sb.ID)
	}
	if err := n.execRoomLocked(&b.sb); err != nil {
		return "", err
	}
	n.forgetExecsLocked()
	n.lastExec++
	e := &execution{info: ExecInfo{ID: cnm.NewID(), SandboxID: b.sb.ID, Spec: spec}, number: n.lastExec, done: make(chan struct{})}
	n.execs[e.info.ID] = e
	sb := copySandbox(&b.sb)
	n.emitSandbox("exec_create: "+strings.Join(spec.Cmd, " "), &sb, "execID", e.info.ID)
	return e.info.ID, nil
}

// execRoomLocked refuses one more execution in a sandbox that has as many as it may.
func (n *Node) execRoomLocked(sb *cnm.Sandbox) error {
	running := 0
	for _, e := range n.execs {
		if e.info.SandboxID == sb.ID && e.begun && e.info.ExitCode == nil {
			running++
		}
	}
	if running >= maxRunningExecs {
		return cnm.Errorf(cnm.Unavailable, "%d exec processes run in container %s already: wait until one has ended", running, sb.Spec.Name)
	}
	return nil
}

// forgetExecsLocked makes room for one more execution.
func (n *Node) forgetExecsLocked() {
	for len(n.execs) >= maxExecs {
		var oldest *execution
		for _, e := range n.execs {
			if !e.info.Running && (oldest == nil || e.number < oldest.number) {
				oldest = e
			}
		}
		if oldest == nil {
			return // all of them run, which is bounded by execRoomLocked
		}
		delete(n.execs, oldest.info.ID)
	}
}

// dropExecs forgets the executions of a sandbox that was removed.
func (n *Node) dropExecs(sandbox string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, e := range n.execs {
		if e.info.SandboxID == sandbox {
			delete(n.execs, id)
		}
	}
}

func (n *Node) findExecLocked(id string) (*execution, error) {
	e := n.execs[id]
	if e == nil {
		return nil, cnm.Errorf(cnm.NotFound, "No such exec instance: %s", id)
	}
	return e, nil
}

// ExecStart starts a planned process and returns its streams.
func (n *Node) ExecStart(ctx context.Context, id string) (Stream, error) {
	n.mu.Lock()
	e, err := n.findExecLocked(id)
	var b *box
	if err == nil {
		b, err = n.findBoxLocked(e.info.SandboxID)
	}
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a, done := n.lend(b)
	n.mu.Lock()
	switch {
	case e.begun:
		err = cnm.Errorf(cnm.Conflict, "exec command %s has already run", id)
	case a == nil || b.sb.State != cnm.Running:
		err = cnm.Errorf(cnm.Conflict, "container %s is not running", e.info.SandboxID)
	default:
		err = n.execRoomLocked(&b.sb)
	}
	if err != nil {
		n.mu.Unlock()
		done()
		return nil, err
	}
	e.begun = true
	sb, spec := copySandbox(&b.sb), e.info.Spec
	n.mu.Unlock()
	s, err := n.launchExec(ctx, e, a, done, &sb, spec)
	if err != nil {
		done()
		n.execEnded(e, startCode(err))
		close(e.done)
		return nil, startError(&cnm.Sandbox{Spec: cnm.SandboxSpec{Name: sb.Spec.Name, Cmd: spec.Cmd}}, err)
	}
	n.emitSandbox("exec_start: "+strings.Join(spec.Cmd, " "), &sb, "execID", id)
	return s, nil
}

// launchExec starts the process. When it succeeds, done is called at its end.
func (n *Node) launchExec(ctx context.Context, e *execution, a *sandbox.Agent, done func(), sb *cnm.Sandbox, spec ExecSpec) (*execStream, error) {
	s, stdio, err := newExecStream(spec, e.done)
	if err != nil {
		return nil, err
	}
	p := sandbox.Process{Args: spec.Cmd, Env: mergeEnv(sb.Spec.Env, spec.Env), Dir: spec.Dir, TTY: spec.TTY}
	if p.Dir == "" {
		p.Dir = sb.Spec.Dir
	}
	h, err := a.Exec(ctx, p, stdio)
	closeStdio(stdio)
	if err != nil {
		s.Close()
		return nil, err
	}
	n.mu.Lock()
	e.handle, e.info.Running, e.info.PID = h, true, h.PID
	n.mu.Unlock()
	s.begin(n.own, h.Terminal)
	watched := n.own.spawn(func() {
		defer done()
		st, err := h.Wait(n.ctx)
		if err != nil {
			st.Code = 137 // the agent died, and with it the process
		}
		n.execEnded(e, st.Code)
		n.emitSandbox("exec_die", sb, "execID", e.info.ID, "exitCode", itoa(st.Code))
		close(e.done) // who reads to the end finds all of it told
	})
	if !watched {
		s.Close()
		return nil, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	}
	return s, nil
}

func (n *Node) execEnded(e *execution, code int) {
	n.mu.Lock()
	e.info.Running, e.info.PID, e.info.ExitCode = false, 0, &code
	n.mu.Unlock()
}

// ExecResize sets the size of an execution's terminal.
func (n *Node) ExecResize(_ context.Context, id string, rows, cols uint16) error {
	n.mu.Lock()
	e, err := n.findExecLocked(id)
	var h *sandbox.Exec
	if err == nil {
		if h = e.handle; !e.info.Running || h == nil {
			err = cnm.Errorf(cnm.Conflict, "exec process %s is not running", id)
		}
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	return h.Resize(rows, cols)
}

// ExecInspect returns the state of an execution.
func (n *Node) ExecInspect(id string) (ExecInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, err := n.findExecLocked(id)
	if err != nil {
		return ExecInfo{}, err
	}
	return e.info, nil
}

// mergeEnv returns base with the settings of more in place of its own.
func mergeEnv(base, more []string) []string {
	set := make(map[string]bool, len(more))
	for _, kv := range more {
		k, _, _ := strings.Cut(kv, "=")
		set[k] = true
	}
	var out []string
	for _, kv := range base {
		if k, _, _ := strings.Cut(kv, "="); !set[k] {
			out = append(out, kv)
		}
	}
	return append(out, more...)
}

// SandboxResize sets the size of a main process's terminal.
func (n *Node) SandboxResize(ctx context.Context, ref string, rows, cols uint16) error {
	b, err := n.findBox(ref)
	if err != nil {
		return err
	}
	a, done := n.lend(b)
	defer done()
	id := b.sb.ID
	if a == nil {
		return cnm.Errorf(cnm.Conflict, "container %s is not running", id)
	}
	if err := a.Resize(ctx, rows, cols); err != nil {
		if errors.Is(err, sandbox.ErrNotRunning) || errors.Is(err, sandbox.ErrGone) {
			return cnm.Errorf(cnm.Conflict, "container %s is not running", id)
		}
		return err
	}
	return nil
}
