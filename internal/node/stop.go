package node

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

func itoa(i int) string { return strconv.Itoa(i) }

// The signals used here; their numbers are the same on every Linux weft runs on.
const (
	sigKill = 9
	sigTerm = 15
)

// defaultStopTimeout is what a process has between SIGTERM and SIGKILL.
const defaultStopTimeout = 10 * time.Second

// killPatience is how long a kill may take before the agent itself is killed.
const killPatience = 5 * time.Second

// SandboxStop asks a sandbox's main process to end, with sig or the sandbox's own
// stop signal, and kills it after timeout (nil: the sandbox's own; negative:
// never). It returns when the sandbox has exited. As in Docker, a client that goes
// away takes nothing back: what was begun is carried out.
func (n *Node) SandboxStop(ctx context.Context, ref, sig string, timeout *time.Duration) error {
	b, err := n.findBox(ref)
	if err != nil {
		return err
	}
	n.mu.Lock()
	sb, next := copySandbox(&b.sb), b.next
	n.mu.Unlock()
	if err := own(&sb, "stopped", detachIt); err != nil {
		return err
	}
	if sb.State != cnm.Running {
		return cnm.Errorf(cnm.NotModified, "container %s is not running", sb.Spec.Name)
	}
	number, err := stopSignal(sig, &sb.Spec)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	if err := n.signal(ctx, b, number); err != nil && !gone(err) {
		return err
	}
	if !await(ctx, next, stopTimeout(timeout, &sb.Spec)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.killAndWait(ctx, b); err != nil {
			return err
		}
	}
	n.emitSandbox("stop", &sb)
	return nil
}

func stopSignal(sig string, spec *cnm.SandboxSpec) (int, error) {
	if sig == "" {
		sig = spec.StopSignal
	}
	if sig == "" {
		return sigTerm, nil
	}
	return cnm.ParseSignal(sig)
}

func stopTimeout(asked *time.Duration, spec *cnm.SandboxSpec) time.Duration {
	switch {
	case asked != nil:
		return *asked
	case spec.StopTimeout != 0:
		return spec.StopTimeout
	}
	return defaultStopTimeout
}

// await waits for an outcome and reports whether it came in time. A negative
// timeout waits as long as ctx.
func await(ctx context.Context, o *outcome, timeout time.Duration) bool {
	var late <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-o.ch:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

// SandboxKill sends the main process a signal, SIGKILL unless one is named.
func (n *Node) SandboxKill(ctx context.Context, ref, sig string) error {
	number := sigKill
	if sig != "" {
		var err error
		if number, err = cnm.ParseSignal(sig); err != nil {
			return err
		}
	}
	b, err := n.findBox(ref)
	if err != nil {
		return err
	}
	n.mu.Lock()
	sb, next := copySandbox(&b.sb), b.next
	n.mu.Unlock()
	if err := own(&sb, "killed", detachIt); err != nil {
		return err
	}
	if sb.State != cnm.Running {
		return cnm.Errorf(cnm.Conflict, "cannot kill container: %s: container %s is not running", ref, sb.ID)
	}
	if err := n.signal(ctx, b, number); err != nil {
		if gone(err) {
			return cnm.Errorf(cnm.Conflict, "cannot kill container: %s: container %s is not running", ref, sb.ID)
		}
		return err
	}
	if number == sigKill {
		// As in Docker, the caller may rely on the end.
		await(ctx, next, defaultStopTimeout)
	}
	return nil
}

const detachIt = "detach it with weft detach"

// own refuses what only makes sense for processes weft started, with advice on what
// to do instead.
func own(sb *cnm.Sandbox, done, advice string) error {
	if sb.Spec.Foreign != nil {
		return cnm.Errorf(cnm.Forbidden, "%s is a namespace made by somebody else and cannot be %s: %s", sb.Spec.Name, done, advice)
	}
	return nil
}

// signal sends the main process a signal and publishes the event.
func (n *Node) signal(ctx context.Context, b *box, number int) error {
	a, done := n.lend(b)
	defer done()
	if a == nil {
		return sandbox.ErrNotRunning
	}
	n.mu.Lock()
	sb := copySandbox(&b.sb)
	n.mu.Unlock()
	if err := a.Signal(ctx, syscall.Signal(number)); err != nil {
		return err
	}
	n.emitSandbox("kill", &sb, "signal", itoa(number))
	return nil
}

// gone reports whether an error only says that there is nothing left to signal.
func gone(err error) bool {
	return errors.Is(err, sandbox.ErrGone) || errors.Is(err, sandbox.ErrNotRunning)
}

// killAndWait kills a sandbox and returns when it has exited. An agent that does
// not answer is killed itself.
func (n *Node) killAndWait(ctx context.Context, b *box) error {
	n.mu.Lock()
	next, running, name := b.next, b.sb.State == cnm.Running, b.sb.Spec.Name
	n.mu.Unlock()
	if !running {
		return nil
	}
	quick, cancel := context.WithTimeout(ctx, killPatience)
	err := n.signal(quick, b, sigKill)
	cancel()
	if (err == nil || gone(err)) && await(ctx, next, killPatience) {
		return nil
	}
	if a, done := n.lend(b); a != nil {
		err = a.Kill(ctx)
		done()
		if err != nil {
			return err
		}
	} else {
		done()
	}
	if !await(ctx, next, killPatience) {
		return cnm.Errorf(cnm.Unavailable, "tried to kill container %s, but did not receive an exit event", name)
	}
	return nil
}

// SandboxWait returns the exit code of a sandbox's main process. It waits for the
// end of the run under way or, of a sandbox never started, of the first; with
// removed until the sandbox has been removed.
func (n *Node) SandboxWait(ctx context.Context, ref string, removed bool) (int, error) {
	b, err := n.findBox(ref)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	o := b.next
	if removed {
		o = b.gone
	} else if b.sb.State == cnm.Exited {
		code := b.sb.ExitCode
		n.mu.Unlock()
		return code, nil
	}
	n.mu.Unlock()
	return n.told(ctx, o)
}

// SandboxWaitNext returns the exit code of the run under way or, when there is
// none, of the next one.
func (n *Node) SandboxWaitNext(ctx context.Context, ref string) (int, error) {
	b, err := n.findBox(ref)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	o := b.next
	n.mu.Unlock()
	return n.told(ctx, o)
}

func (n *Node) told(ctx context.Context, o *outcome) (int, error) {
	select {
	case <-o.ch:
		return o.code, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-n.own.stop:
		return 0, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	}
}
