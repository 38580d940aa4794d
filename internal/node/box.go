package node

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"weft/internal/cnm"
	"weft/internal/sandbox"
	"weft/tap"
)

// Theory of operation: sandboxes
//
//	created --start--> running --exit--> exited --start--> running ...
//	   \__________________________________/ \--remove--> (gone)
//
// A created or exited sandbox is a record only: no process, no agent, no address.
// Starting allocates addresses, launches the agent, gives it its interfaces,
// publishes the plan and starts the process; when any of it fails, all of it is
// undone. The journal knows of a launch before it happens (RunDir is set), so a
// daemon that is killed half way finds what to clean up.
//
// A foreign sandbox (weft attach) has a namespace made by somebody else in place
// of agent and process; it runs until it is detached or the namespace vanishes.

// A box is a sandbox of the desired state.
type box struct {
	op sync.Mutex // slow changes, one at a time
	// use is held for reading while somebody without op calls the agent, and
	// taken to close its handle. It comes before Node.mu.
	use sync.RWMutex

	// Guarded by Node.mu:
	sb      cnm.Sandbox
	runDir  string // of the agent, while there is one
	agent   *sandbox.Agent
	foreign *sandbox.ForeignNS
	nsID    sandbox.NamespaceID    // of the foreign namespace, once it was entered
	devices map[string]*tap.Device // by interface name
	// refusedMTU is what an interface could not be set to, by its name.
	refusedMTU map[string]int
	names      *nameServer          // at its 127.0.0.11, while it runs and is on a network with names
	nameless   bool                 // it should have one, and cannot
	next       *outcome             // how the next run ends
	gone       *outcome             // that it was removed
	streams    map[*stream]struct{} // attached before the start, waiting for it
	removing   bool
	// changed says that its default routes may not be where they belong: its way out
	// was being made, or restore found other interfaces than the journal said.
	changed bool
}

// An outcome is told once to whoever waits for it.
type outcome struct {
	ch   chan struct{}
	code int
}

func newOutcome() *outcome { return &outcome{ch: make(chan struct{})} }

func (o *outcome) tell(code int) {
	o.code = code
	close(o.ch)
}

func newBox(sb cnm.Sandbox) *box {
	return &box{sb: sb, devices: make(map[string]*tap.Device), next: newOutcome(), gone: newOutcome(), streams: make(map[*stream]struct{})}
}

// lend returns b's agent, nil when there is none. Its handle is not closed before
// done is called.
func (n *Node) lend(b *box) (a *sandbox.Agent, done func()) {
	b.use.RLock()
	n.mu.Lock()
	defer n.mu.Unlock()
	return b.agent, b.use.RUnlock
}

// parted closes the handle of b's agent once nobody uses it. The agent lives on,
// or has ended by itself.
func (n *Node) parted(b *box) {
	n.mu.Lock()
	a := b.agent
	b.agent = nil
	n.mu.Unlock()
	if a == nil {
		return
	}
	b.use.Lock()
	defer b.use.Unlock()
	if err := a.Close(); err != nil {
		n.log.Warn("close an agent's handle", "sandbox", b.sb.ID, "error", err)
	}
}

// copySandbox returns a copy that shares nothing that changes.
func copySandbox(sb *cnm.Sandbox) cnm.Sandbox {
	out := *sb
	out.Endpoints = slices.Clone(sb.Endpoints)
	out.Spec.Networks = slices.Clone(sb.Spec.Networks)
	return out
}

// SandboxCreate records a sandbox. Nothing of it runs yet, no address is taken.
func (n *Node) SandboxCreate(_ context.Context, spec cnm.SandboxSpec) (id string, warnings []string, err error) {
	if spec.Foreign != nil {
		return "", nil, cnm.Errorf(cnm.Invalid, "a namespace made by somebody else is attached, not created")
	}
	b, err := n.addBox(spec)
	if err != nil {
		return "", nil, err
	}
	return b.sb.ID, nil, nil
}

// addBox checks spec and makes it a sandbox of the desired state.
func (n *Node) addBox(spec cnm.SandboxSpec) (*box, error) {
	if err := cnm.ValidateSandbox(spec); err != nil {
		return nil, err
	}
	sb := cnm.Sandbox{ID: cnm.NewID(), Spec: spec, Created: n.now(), State: cnm.Created}
	if spec.Foreign == nil {
		sb.LogPath = filepath.Join(n.boxDir(sb.ID), sandbox.LogName)
	}
	n.mu.Lock()
	if err := n.completeLocked(&sb); err != nil {
		n.mu.Unlock()
		return nil, err
	}
	b := newBox(sb)
	b.op.Lock() // whoever finds it waits until the journal has it
	defer b.op.Unlock()
	n.boxes[sb.ID] = b
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.forget(b)
		return nil, err
	}
	n.emitSandbox("create", &sb)
	return b, nil
}

// completeLocked fills in name, hostname and networks, and checks them.
func (n *Node) completeLocked(sb *cnm.Sandbox) error {
	spec := &sb.Spec
	if spec.Name == "" {
		spec.Name = cnm.GenerateName(func(s string) bool { return n.boxNamedLocked(s) != nil })
	} else if err := n.nameFreeLocked(spec.Name); err != nil {
		return err
	}
	normalNetworks(spec)
	if spec.Hostname == "" {
		spec.Hostname = cnm.ShortID(sb.ID)
		if host, err := os.Hostname(); err == nil && spec.NetworkMode == cnm.NetHost {
			spec.Hostname = host
		}
	}
	for i := range spec.Networks {
		join := &spec.Networks[i]
		nw, err := n.findNetworkLocked(join.Network)
		if err != nil {
			return err
		}
		if err := cnm.ValidateEndpoint(nw.Network, join.Config); err != nil {
			return err
		}
		join.Network = nw.Name
	}
	return nil
}

// normalNetworks brings mode and list of networks into one form: host and none
// are modes without networks, everything else is a list without a mode.
func normalNetworks(spec *cnm.SandboxSpec) {
	spec.Networks = slices.Clone(spec.Networks)
	if len(spec.Networks) == 1 && spec.NetworkMode == "" {
		switch spec.Networks[0].Network {
		case cnm.NetHost:
			spec.NetworkMode = cnm.NetHost
		case cnm.NetNone, "null":
			spec.NetworkMode = cnm.NetNone
		}
	}
	switch spec.NetworkMode {
	case cnm.NetHost, cnm.NetNone:
		spec.Networks = nil
		return
	}
	spec.NetworkMode = ""
	if len(spec.Networks) == 0 {
		spec.Networks = []cnm.NetworkJoin{{Network: cnm.NetBridge}}
	}
}

func (n *Node) nameFreeLocked(name string) error {
	if other := n.boxNamedLocked(name); other != nil {
		return cnm.Errorf(cnm.Conflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, other.sb.ID)
	}
	return nil
}

// SandboxRename gives a sandbox another name.
func (n *Node) SandboxRename(_ context.Context, ref, name string) error {
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		return cnm.Errorf(cnm.Invalid, "Neither old nor new names may be empty")
	}
	if err := cnm.ValidateSandboxName(name); err != nil {
		return err
	}
	b, err := n.lockBox(ref)
	if err != nil {
		return err
	}
	defer b.op.Unlock()
	n.mu.Lock()
	old := b.sb.Spec.Name
	if old == name {
		n.mu.Unlock()
		return cnm.Errorf(cnm.Invalid, "Renaming a container with the same name as its current name")
	}
	if err := n.nameFreeLocked(name); err != nil {
		n.mu.Unlock()
		return err
	}
	n.renameLocked(b, name)
	sb := copySandbox(&b.sb)
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.mu.Lock()
		n.renameLocked(b, old)
		n.mu.Unlock()
		return err
	}
	n.announce()
	n.tendNames()
	n.emitSandbox("rename", &sb, "oldName", "/"+old)
	return nil
}

func (n *Node) renameLocked(b *box, name string) {
	b.sb.Spec.Name = name
	b.sb.Endpoints = slices.Clone(b.sb.Endpoints)
	for i := range b.sb.Endpoints {
		e := &b.sb.Endpoints[i]
		if !e.WayOut {
			e.DNSNames = cnm.DNSNames(b.sb.Spec, b.sb.ID, e.Config)
		}
	}
}

// Sandboxes returns every sandbox, the newest first.
func (n *Node) Sandboxes() []cnm.Sandbox {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]cnm.Sandbox, 0, len(n.boxes))
	for _, b := range n.boxes {
		out = append(out, n.showLocked(b))
	}
	slices.SortFunc(out, func(a, b cnm.Sandbox) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Sandbox returns one sandbox by id, unique id prefix or name.
func (n *Node) Sandbox(ref string) (cnm.Sandbox, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := n.findBoxLocked(ref)
	if err != nil {
		return cnm.Sandbox{}, err
	}
	return n.showLocked(b), nil
}

// showLocked returns a sandbox as users see it: in the mode host or none it has an
// endpoint there while it runs.
func (n *Node) showLocked(b *box) cnm.Sandbox {
	sb := copySandbox(&b.sb)
	if e, ok := n.modeEndpointLocked(&sb); ok {
		sb.Endpoints = append(sb.Endpoints, e)
	}
	return sb
}

// save writes the sandbox's record. The caller holds b.op.
func (n *Node) save(b *box) error {
	n.mu.Lock()
	r := sandboxRecord{Sandbox: copySandbox(&b.sb), RunDir: b.runDir, Namespace: b.nsID, Changed: b.changed}
	n.mu.Unlock()
	return n.journal.putSandbox(r)
}

// forget takes the sandbox out of the desired state.
func (n *Node) forget(b *box) {
	n.mu.Lock()
	delete(n.boxes, b.sb.ID)
	n.mu.Unlock()
}

// boxDir is where a sandbox keeps what outlives a run: its log.
func (n *Node) boxDir(id string) string { return filepath.Join(n.cfg.DataDir, "sandboxes", id) }

// SandboxRemove removes a sandbox; with force a running one is killed first.
func (n *Node) SandboxRemove(ctx context.Context, ref string, force bool) error {
	b, err := n.findBox(ref)
	if err != nil {
		return err
	}
	for {
		n.mu.Lock()
		running, foreign := b.sb.State == cnm.Running, b.sb.Spec.Foreign != nil
		n.mu.Unlock()
		if running && force && !foreign {
			if err := n.killAndWait(ctx, b); err != nil {
				return err
			}
		}
		b.op.Lock()
		if foreign && force {
			n.exitForeign(b)
		}
		err := n.removeLocked(b)
		b.op.Unlock()
		// Somebody may have started it meanwhile.
		if !force || !errors.Is(err, errStillRuns) {
			return err
		}
	}
}

// errStillRuns marks the refusal to remove a running sandbox.
var errStillRuns = errors.New("container is running: stop the container before removing or force remove")

// removeLocked removes a sandbox that does not run. The caller holds b.op.
func (n *Node) removeLocked(b *box) error {
	n.mu.Lock()
	if b.removing {
		n.mu.Unlock()
		return nil // somebody else was faster
	}
	if b.sb.State == cnm.Running {
		n.mu.Unlock()
		return cnm.Errorf(cnm.Conflict, "cannot remove container %q: %w", b.sb.Spec.Name, errStillRuns)
	}
	b.removing = true
	sb := copySandbox(&b.sb)
	n.mu.Unlock()
	if err := n.journal.dropSandbox(sb.ID); err != nil {
		n.mu.Lock()
		b.removing = false
		n.mu.Unlock()
		return err
	}
	if err := os.RemoveAll(n.boxDir(sb.ID)); err != nil {
		n.log.Warn("remove a sandbox's files", "sandbox", sb.Spec.Name, "error", err)
	}
	n.forget(b)
	n.dropExecs(sb.ID)
	n.endStreams(b)
	b.next.tell(sb.ExitCode) // there is no further run
	b.gone.tell(sb.ExitCode)
	n.emitSandbox("destroy", &sb)
	return nil
}
