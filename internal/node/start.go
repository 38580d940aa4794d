package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
	"weft/tap"
)

// launchTimeout bounds the making of a sandbox: namespaces, agent, interfaces.
const launchTimeout = 30 * time.Second

// launchesPerCPU is how many sandboxes start at a time. The others wait with
// their clocks stopped: a thousand at once would all run out of time.
const launchesPerCPU = 4

// SandboxStart starts a created or exited sandbox.
func (n *Node) SandboxStart(ctx context.Context, ref string) error {
	b, err := n.lockBox(ref)
	if err != nil {
		return err
	}
	defer b.op.Unlock()
	return n.start(ctx, b)
}

// start starts b; what was made when it fails is undone. The caller holds b.op.
func (n *Node) start(ctx context.Context, b *box) error {
	if err := n.startable(b); err != nil {
		return err
	}
	select {
	case n.launching <- struct{}{}:
		defer func() { <-n.launching }()
	case <-ctx.Done():
		return ctx.Err()
	case <-n.own.stop:
		return cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if err := n.bringUp(ctx, b); err != nil {
		n.startFailed(ctx, b, err)
		return startError(&b.sb, err)
	}
	n.mu.Lock()
	sb := copySandbox(&b.sb)
	agent := b.agent
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.log.Error("journal", "sandbox", sb.Spec.Name, "error", err)
	}
	n.emitJoined("connect", &sb)
	n.emitSandbox("start", &sb)
	if agent != nil {
		n.own.spawn(func() { n.watch(b, agent) })
	}
	return nil
}

// bounded is the context of a change to a sandbox. A client that goes away must
// not leave half of it: the change is carried out or fails as a whole, within
// launchTimeout, and fails when the node closes.
func (n *Node) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), launchTimeout)
	stop := context.AfterFunc(n.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

func (n *Node) startable(b *box) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.own.stopping():
		return cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	case b.removing:
		return cnm.Errorf(cnm.Conflict, "container is marked for removal and cannot be started")
	case b.sb.State == cnm.Running:
		return cnm.Errorf(cnm.NotModified, "container %s is already running", b.sb.Spec.Name)
	case b.sb.State == cnm.Dead:
		return cnm.Errorf(cnm.Conflict, "container is dead and cannot be started: remove it")
	}
	return nil
}

// bringUp takes a sandbox from addresses to a running process.
func (n *Node) bringUp(ctx context.Context, b *box) error {
	if err := n.allocateAll(ctx, b); err != nil {
		return err
	}
	n.mu.Lock()
	b.runDir = filepath.Join(n.boxRoot(), cnm.ShortID(b.sb.ID))
	sb := copySandbox(&b.sb)
	dir := b.runDir
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		return err
	}
	if sb.Spec.Foreign != nil {
		return n.enterForeign(ctx, b, &sb)
	}
	a, err := n.launch(ctx, &sb, dir)
	n.mu.Lock()
	if b.agent = a; err != nil {
		b.runDir = "" // what is there now is not of this start
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	for _, w := range a.Warnings() {
		n.log.Warn("sandbox", "name", sb.Spec.Name, "warning", w)
	}
	for i, e := range n.interfaces(&sb) {
		if err := n.plug(ctx, b, a, sb.Endpoints[i].NetworkID, e); err != nil {
			return err
		}
	}
	if len(sb.Endpoints) > 0 {
		if err := n.publish(b.sb.ID); err != nil {
			return err
		}
		n.awaitKeys(b)
	}
	if err := n.openPorts(b); err != nil {
		return err
	}
	if n.serveNames(ctx, b); len(sb.Endpoints) > 0 {
		hosts, resolv := n.files(&sb) // as it is now: without a name server, perhaps
		if err := a.WriteFiles(ctx, hosts, resolv); err != nil {
			return err
		}
	}
	return n.run(ctx, b, a, &sb)
}

func (n *Node) launch(ctx context.Context, sb *cnm.Sandbox, dir string) (*sandbox.Agent, error) {
	if err := os.MkdirAll(filepath.Dir(sb.LogPath), 0o700); err != nil {
		return nil, err
	}
	hosts, resolv := n.files(sb)
	return sandbox.Launch(ctx, sandbox.Config{
		ID: cnm.ShortID(sb.ID), Dir: dir, Exe: n.cfg.Exe,
		Hostname: sb.Spec.Hostname, Domainname: sb.Spec.Domainname, Rootfs: sb.Spec.Rootfs,
		Hosts: hosts, ResolvConf: resolv, Sysctls: cnm.SysctlPaths(sb.Spec.Sysctls),
		HostNetwork: sb.Spec.NetworkMode == cnm.NetHost, LogPath: sb.LogPath,
	})
}

// run starts the main process, with those attached who were waiting for it.
func (n *Node) run(ctx context.Context, b *box, a *sandbox.Agent, sb *cnm.Sandbox) error {
	if err := n.bindStreams(ctx, b, a); err != nil {
		return err
	}
	err := a.Start(ctx, sandbox.Process{
		Args: sb.Spec.Cmd, Env: sb.Spec.Env, Dir: sb.Spec.Dir, TTY: sb.Spec.TTY,
		OpenStdin: sb.Spec.OpenStdin, StdinOnce: sb.Spec.StdinOnce,
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	b.sb.State, b.sb.PID, b.sb.NetNS = cnm.Running, a.PID(), a.NetNS()
	b.sb.Started, b.sb.Finished, b.sb.ExitCode, b.sb.Error, b.sb.LogError = n.now(), time.Time{}, 0, "", ""
	n.mu.Unlock()
	return nil
}

// plug makes one interface in the sandbox and keeps its device.
func (n *Node) plug(ctx context.Context, b *box, a plugger, network string, i sandbox.Interface) error {
	dev, err := a.AddInterface(ctx, i)
	if err != nil {
		return err
	}
	n.mu.Lock()
	b.devices[i.Name] = dev
	n.mu.Unlock()
	return nil
}

// A plugger makes, removes and routes by interfaces: an agent, or a foreign namespace.
type plugger interface {
	AddInterface(context.Context, sandbox.Interface) (*tap.Device, error)
	RemoveInterface(context.Context, string) error
	SetDefaultRoute(ctx context.Context, ifName string, gw4, gw6 netip.Addr) error
	SetMTU(ctx context.Context, ifName string, mtu, superframe int) error
}

// startFailed undoes what bringUp did and tells who waits.
func (n *Node) startFailed(ctx context.Context, b *box, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), launchTimeout)
	defer cancel()
	n.mu.Lock()
	agent := b.agent
	n.mu.Unlock()
	if agent != nil {
		if err := agent.Kill(ctx); err != nil {
			n.log.Error("end the agent of a failed start", "sandbox", b.sb.Spec.Name, "error", err)
		}
	}
	freed := n.dismantle(ctx, b)
	code := startCode(cause)
	n.mu.Lock()
	b.sb.ExitCode, b.sb.Error, b.sb.Finished = code, cause.Error(), n.now()
	auto := b.sb.Spec.AutoRemove
	next := b.next
	b.next = newOutcome()
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.log.Error("journal", "sandbox", b.sb.Spec.Name, "error", err)
	}
	n.release(freed)
	n.endStreams(b)
	next.tell(code)
	if auto {
		if err := n.removeLocked(b); err != nil {
			n.log.Error("remove after a failed start", "sandbox", b.sb.Spec.Name, "error", err)
		}
	}
}

// startCode is Docker's exit code for a start that failed: 127 when there is no
// such program, 126 when it cannot be executed or its directory not be entered, 128
// otherwise.
func startCode(err error) int {
	switch {
	case errors.Is(err, sandbox.ErrNotFound):
		return 127
	case errors.Is(err, sandbox.ErrPermission), errors.Is(err, sandbox.ErrWorkDir):
		return 126
	}
	return 128
}

// startError words a failure for the user; Docker's clients look for the words
// "executable file not found" and "permission denied" to choose an exit code.
func startError(sb *cnm.Sandbox, err error) error {
	cmd := ""
	if len(sb.Spec.Cmd) > 0 {
		cmd = sb.Spec.Cmd[0]
	}
	switch {
	case errors.Is(err, sandbox.ErrNotFound):
		if strings.HasSuffix(err.Error(), ": executable file not found in $PATH") { // that is said once
			return cnm.Errorf(cnm.Invalid, "unable to start container process: exec: %q: executable file not found in $PATH", cmd)
		}
		return cnm.Errorf(cnm.Invalid, "unable to start container process: exec: %q: executable file not found in $PATH: %w", cmd, err)
	case errors.Is(err, sandbox.ErrPermission):
		return cnm.Errorf(cnm.Invalid, "unable to start container process: exec: %q: permission denied: %w", cmd, err)
	case errors.Is(err, sandbox.ErrWorkDir):
		return cnm.Errorf(cnm.Invalid, "unable to start container process: chdir: %w", err)
	case errors.Is(err, sandbox.ErrForbidden), errors.Is(err, sandbox.ErrUnsupported):
		return cnm.Errorf(cnm.Unsupported, "%w", err)
	case errors.Is(err, sandbox.ErrGone):
		return cnm.Errorf(cnm.Conflict, "%w", err)
	}
	var known *cnm.Error
	if errors.As(err, &known) {
		return err
	}
	return fmt.Errorf("failed to start %s: %w", sb.Spec.Name, err)
}
