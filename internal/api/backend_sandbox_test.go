package api

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/cnm"
	"weft/internal/node"
)

func (m *memory) findLocked(ref string) (*box, error) {
	for _, b := range m.sandboxes {
		if b.Spec.Name == ref || ref != "" && strings.HasPrefix(b.ID, ref) {
			return b, nil
		}
	}
	return nil, cnm.Errorf(cnm.NotFound, "No such container: %s", ref)
}

func (m *memory) Sandboxes() []cnm.Sandbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	var l []cnm.Sandbox
	for _, b := range m.sandboxes {
		l = append(l, b.Sandbox)
	}
	return l
}

func (m *memory) Sandbox(ref string) (cnm.Sandbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err != nil {
		return cnm.Sandbox{}, err
	}
	return b.Sandbox, nil
}

func (m *memory) SandboxCreate(_ context.Context, s cnm.SandboxSpec) (string, []string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return "", nil, m.err
	}
	id := m.id()
	if s.Name == "" {
		s.Name = "name" + strconv.Itoa(m.serial)
	}
	if o, err := m.findLocked(s.Name); err == nil && o.Spec.Name == s.Name {
		return "", nil, cnm.Errorf(cnm.Conflict, `Conflict. The container name "/%s" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.`, s.Name, o.ID)
	}
	if s.Hostname == "" {
		s.Hostname = id[:12]
	}
	b := &box{Sandbox: cnm.Sandbox{ID: id, Spec: s, Created: m.now(), State: cnm.Created}, proc: newProcess(s.Cmd, s.TTY)}
	m.sandboxes = append(m.sandboxes, b)
	m.emitLocked("container", "create", id, attrs(s, nil))
	return id, nil, nil
}

func attrs(s cnm.SandboxSpec, more map[string]string) map[string]string {
	a := map[string]string{"name": s.Name, "image": s.Image()}
	for k, v := range more {
		a[k] = v
	}
	return a
}

func (m *memory) SandboxStart(_ context.Context, ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err != nil {
		return err
	}
	if b.State == cnm.Running {
		return cnm.Errorf(cnm.NotModified, "sandbox %s is already running", b.Spec.Name)
	}
	if b.Spec.Cmd[0] == "nosuch" {
		b.proc.fail()
		return cnm.Errorf(cnm.Invalid, `exec: "nosuch": executable file not found in $PATH`)
	}
	if b.State == cnm.Exited {
		b.proc = newProcess(b.Spec.Cmd, b.Spec.TTY)
	}
	b.State, b.Started, b.PID = cnm.Running, m.now(), 4242
	b.Endpoints = nil
	for _, j := range b.Spec.Networks {
		n, err := m.findNetworkLocked(j.Network)
		if err != nil {
			return err
		}
		m.joinLocked(b, n, j.Config)
	}
	b.Ports = listening(b.Spec)
	m.emitLocked("container", "start", b.ID, attrs(b.Spec, nil))
	b.proc.start(func(code int) { m.ended(b, code) })
	return nil
}

// listening are a sandbox's ports as a node publishes them: without an address on all of
// both families, without a port from 32768 up.
func listening(s cnm.SandboxSpec) (all []cnm.PublishedPort) {
	free := uint16(32768)
	for _, m := range s.Mappings() {
		if m.HostPort == 0 {
			m.HostPort, free = free, free+1
		}
		on := []netip.Addr{m.HostIP}
		if !m.HostIP.IsValid() {
			on = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		}
		for _, a := range on {
			all = append(all, cnm.PublishedPort{Proto: m.Proto, Port: m.Port, Host: netip.AddrPortFrom(a, m.HostPort)})
		}
	}
	slices.SortFunc(all, cnm.ComparePublished)
	return all
}

// ended is called by a process that is over.
func (m *memory) ended(b *box, code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b.State, b.ExitCode, b.Finished, b.PID, b.Endpoints, b.Ports = cnm.Exited, code, m.now(), 0, nil, nil
	m.emitLocked("container", "die", b.ID, attrs(b.Spec, map[string]string{"exitCode": strconv.Itoa(code)}))
	if b.Spec.AutoRemove {
		m.removeLocked(b)
	}
}

func (m *memory) removeLocked(b *box) {
	for i, o := range m.sandboxes {
		if o == b {
			m.sandboxes = append(m.sandboxes[:i:i], m.sandboxes[i+1:]...)
			m.emitLocked("container", "destroy", b.ID, attrs(b.Spec, nil))
		}
	}
}

func (m *memory) SandboxStop(_ context.Context, ref, signal string, timeout *time.Duration) error {
	b, err := m.running(ref)
	if err != nil {
		return err
	}
	if b == nil {
		return cnm.Errorf(cnm.NotModified, "sandbox %s is not running", ref)
	}
	code := 143
	if signal == "SIGINT" {
		code = 130
	}
	if timeout != nil && *timeout == 0 {
		code = 137
	}
	b.proc.kill(code)
	<-b.proc.done
	return nil
}

// running returns the sandbox if it runs, nil if it does not.
func (m *memory) running(ref string) (*box, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err != nil || b.State != cnm.Running {
		return nil, err
	}
	return b, nil
}

func (m *memory) SandboxKill(_ context.Context, ref, signal string) error {
	b, err := m.running(ref)
	if err != nil {
		return err
	}
	if b == nil {
		return cnm.Errorf(cnm.Conflict, "cannot kill container: %s: container is not running", ref)
	}
	switch signal {
	case "", "KILL", "SIGKILL", "9":
		b.proc.kill(137)
		<-b.proc.done
	case "TERM", "SIGTERM", "15":
		b.proc.kill(143)
		<-b.proc.done
	case "WINCH", "SIGWINCH", "URG", "SIGURG": // ignored by default
	default:
		return cnm.Errorf(cnm.Invalid, "invalid signal: %s", signal)
	}
	return nil
}

func (m *memory) SandboxRemove(_ context.Context, ref string, force bool) error {
	b, err := m.running(ref)
	if err != nil {
		return err
	}
	if b != nil {
		if !force {
			return cnm.Errorf(cnm.Conflict, "cannot remove container %q: container is running: stop the container before removing or force remove", ref)
		}
		b.proc.kill(137)
		<-b.proc.done
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, err = m.findLocked(ref); err != nil {
		return err
	}
	m.removeLocked(b)
	return nil
}

func (m *memory) SandboxRename(_ context.Context, ref, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err != nil {
		return err
	}
	if name == "" {
		return cnm.Errorf(cnm.Invalid, "neither old nor new names may be empty")
	}
	b.Spec.Name = name
	return nil
}

func (m *memory) SandboxResize(_ context.Context, ref string, rows, cols uint16) error {
	b, err := m.running(ref)
	if err == nil && b == nil {
		err = cnm.Errorf(cnm.Conflict, "container %s is not running", ref)
	}
	if err == nil {
		b.proc.resize(rows, cols)
	}
	return err
}

func (m *memory) SandboxWait(ctx context.Context, ref string, _ bool) (int, error) {
	b, err := m.running(ref)
	if err != nil || b == nil {
		return 0, err
	}
	select {
	case <-b.proc.done:
		return b.proc.code, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (m *memory) SandboxAttach(_ context.Context, ref string, o node.AttachOptions) (node.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err != nil {
		return nil, err
	}
	return b.proc.attach(o.Logs), nil
}

func (m *memory) SandboxLogs(_ context.Context, ref string, o node.LogOptions) (node.LogReader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err != nil {
		return nil, err
	}
	return &logReader{s: b.proc.attach(true), o: o, end: b.proc.attach(false).at, t: b.Created, trouble: b.LogError}, nil
}

// A logReader makes one line of each piece of output, without Follow of those
// there were when it was made.
type logReader struct {
	s       *memStream
	o       node.LogOptions
	end     int
	t       time.Time
	trouble string
}

func (l *logReader) Next() (node.LogLine, error) {
	for {
		if !l.o.Follow && l.s.at == l.end {
			if l.trouble != "" {
				return node.LogLine{}, errors.New(l.trouble)
			}
			return node.LogLine{}, io.EOF
		}
		fd, data, err := l.s.Next()
		if err != nil {
			return node.LogLine{}, err
		}
		l.t = l.t.Add(time.Millisecond)
		line := node.LogLine{Stream: "stdout", Time: l.t, Text: data}
		if fd == 2 {
			line.Stream = "stderr"
		}
		if fd == 1 && l.o.Stdout || fd == 2 && l.o.Stderr {
			return line, nil
		}
	}
}

func (l *logReader) Close() error { return l.s.Close() }

func (m *memory) AttachForeign(_ context.Context, s cnm.SandboxSpec) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.id()
	m.sandboxes = append(m.sandboxes, &box{Sandbox: cnm.Sandbox{ID: id, Spec: s, Created: m.now(), State: cnm.Running}, proc: newProcess([]string{"true"}, false)})
	return id, nil
}

func (m *memory) Detach(_ context.Context, ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.findLocked(ref)
	if err == nil && b.Spec.Foreign == nil {
		err = cnm.Errorf(cnm.Conflict, "sandbox %s was not attached", ref)
	}
	if err == nil {
		m.removeLocked(b)
	}
	return err
}

func (m *memory) ExecCreate(_ context.Context, ref string, e node.ExecSpec) (string, error) {
	b, err := m.running(ref)
	if err != nil {
		return "", err
	}
	if b == nil {
		return "", cnm.Errorf(cnm.Conflict, "container %s is not running", ref)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.id()
	m.execs[id] = newProcess(e.Cmd, e.TTY)
	m.execInfo[id] = node.ExecInfo{ID: id, SandboxID: b.ID, Spec: e}
	return id, nil
}

func (m *memory) ExecStart(_ context.Context, id string) (node.Stream, error) {
	m.mu.Lock()
	p, ok := m.execs[id]
	m.mu.Unlock()
	if !ok {
		return nil, cnm.Errorf(cnm.NotFound, "No such exec instance: %s", id)
	}
	if p.cmd[0] == "nosuch" {
		p.code = 127
		close(p.done)
		return nil, cnm.Errorf(cnm.Invalid, `exec: "nosuch": executable file not found in $PATH`)
	}
	s := p.attach(false)
	p.start(func(int) {})
	return s, nil
}

func (m *memory) ExecResize(_ context.Context, id string, rows, cols uint16) error {
	m.mu.Lock()
	p, ok := m.execs[id]
	m.mu.Unlock()
	if !ok {
		return cnm.Errorf(cnm.NotFound, "No such exec instance: %s", id)
	}
	p.resize(rows, cols)
	return nil
}

func (m *memory) ExecInspect(id string) (node.ExecInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.execs[id]
	if !ok {
		return node.ExecInfo{}, cnm.Errorf(cnm.NotFound, "No such exec instance: %s", id)
	}
	i := m.execInfo[id]
	select {
	case <-p.done:
		i.ExitCode = &p.code
	default:
		i.Running = p.running()
	}
	return i, nil
}
