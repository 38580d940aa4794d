package node

import (
	"context"
	"errors"
	"maps"
	"slices"

	"weft/internal/cnm"
	"weft/internal/sandbox"
	"weft/tap"
)

// AttachForeign joins a namespace made by somebody else to networks: it becomes a
// sandbox without a process, which runs until it is detached or the namespace
// vanishes.
func (n *Node) AttachForeign(ctx context.Context, spec cnm.SandboxSpec) (string, error) {
	if spec.Foreign == nil {
		return "", cnm.Errorf(cnm.Invalid, "invalid namespace: exactly one of --pid and --netns is needed")
	}
	b, err := n.addBox(spec)
	if err != nil {
		return "", err
	}
	b.op.Lock()
	defer b.op.Unlock()
	if err := n.start(ctx, b); err != nil {
		// A failed start with AutoRemove has removed it already.
		n.removeLocked(b)
		return "", err
	}
	return b.sb.ID, nil
}

// enterForeign is what launching is to a sandbox of weft's own.
func (n *Node) enterForeign(ctx context.Context, b *box, sb *cnm.Sandbox) error {
	n.mu.Lock()
	expect := b.nsID
	n.mu.Unlock()
	if sb.Spec.Foreign.NetNS != "" {
		expect = sandbox.NamespaceID{} // a path names what is there; a process id is given out again
	}
	f, err := n.openForeign(ctx, sb, expect)
	if err != nil {
		return err
	}
	if err := n.claimForeign(b, f); err != nil {
		f.Close()
		return err
	}
	n.mu.Lock()
	b.nsID = f.ID()
	n.mu.Unlock()
	// The journal knows which namespace it is before anything of ours is there.
	if err := n.save(b); err != nil {
		return err
	}
	for i, e := range n.interfaces(sb) {
		if err := n.plug(ctx, b, f, sb.Endpoints[i].NetworkID, e); err != nil {
			return err
		}
	}
	if err := n.publish(b.sb.ID); err != nil {
		return err
	}
	n.awaitKeys(b)
	if err := n.openPorts(b); err != nil {
		return err
	}
	n.mu.Lock()
	b.sb.State, b.sb.NetNS, b.sb.PID = cnm.Running, f.NetNS(), sb.Spec.Foreign.PID
	b.sb.Started, b.sb.Error = n.now(), ""
	n.mu.Unlock()
	return nil
}

// claimForeign makes f the namespace of b, unless another sandbox has it: two would
// take each other's interface names and routes.
func (n *Node) claimForeign(b *box, f *sandbox.ForeignNS) error {
	const advice = "join further networks with weft network connect"
	own := make(map[string]string) // namespace's path to sandbox's name
	n.mu.Lock()
	for _, o := range n.boxes {
		if o.agent != nil {
			own[o.agent.NetNS()] = o.sb.Spec.Name
		}
	}
	n.mu.Unlock()
	for path, name := range own {
		if f.At(path) {
			return cnm.Errorf(cnm.Conflict, "%s is the namespace of the sandbox %s: %s", f.NetNS(), name, advice)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.boxes {
		if o.foreign != nil && o.foreign.Same(f) {
			return cnm.Errorf(cnm.Conflict, "%s is already attached as %s: %s", f.NetNS(), o.sb.Spec.Name, advice)
		}
	}
	b.foreign = f
	return nil
}

func (n *Node) openForeign(ctx context.Context, sb *cnm.Sandbox, expect sandbox.NamespaceID) (*sandbox.ForeignNS, error) {
	return sandbox.OpenForeign(ctx, sandbox.ForeignConfig{PID: sb.Spec.Foreign.PID, NetNS: sb.Spec.Foreign.NetNS, Exe: n.cfg.Exe, Expect: expect})
}

// leaveForeign removes weft's interfaces from a namespace, if it is still there.
func (n *Node) leaveForeign(ctx context.Context, f *sandbox.ForeignNS, devices map[string]*tap.Device) {
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if err := f.RemoveInterface(ctx, name); err != nil && !errors.Is(err, sandbox.ErrGone) {
			n.log.Warn("remove an interface from a namespace", "namespace", f.NetNS(), "interface", name, "error", err)
		}
	}
	f.Close()
}

// Detach takes a foreign namespace off all its networks and forgets it.
func (n *Node) Detach(ctx context.Context, ref string) error {
	b, err := n.findBox(ref)
	if err != nil {
		return err
	}
	n.mu.Lock()
	foreign, name := b.sb.Spec.Foreign != nil, b.sb.Spec.Name
	n.mu.Unlock()
	if !foreign {
		return cnm.Errorf(cnm.Invalid, "%s is a sandbox of weft's own: stop and remove it, or disconnect it from its networks", name)
	}
	return n.SandboxRemove(ctx, b.sb.ID, true)
}

// exitForeign ends weft's part in a foreign namespace. The caller holds b.op.
func (n *Node) exitForeign(b *box) {
	n.mu.Lock()
	running := b.sb.State == cnm.Running
	n.mu.Unlock()
	if running {
		n.exited(b, sandbox.ExitStatus{}, nil)
	}
}

// checkForeign finds namespaces that vanished; the keeper calls it. A TAP's
// descriptor keeps a namespace alive, so it is asked for, not waited for.
func (n *Node) checkForeign() {
	n.mu.Lock()
	var boxes []*box
	for _, b := range n.boxes {
		if b.foreign != nil {
			boxes = append(boxes, b)
		}
	}
	n.mu.Unlock()
	for _, b := range boxes {
		n.checkOne(b)
	}
}

func (n *Node) checkOne(b *box) {
	if !b.op.TryLock() {
		return // something is being done to it; next time
	}
	defer b.op.Unlock()
	n.mu.Lock()
	f := b.foreign
	n.mu.Unlock()
	if f == nil {
		return
	}
	if err := f.Check(n.ctx); errors.Is(err, sandbox.ErrGone) {
		n.exited(b, sandbox.ExitStatus{}, err)
	}
}

// buryPorts looks after every port whose device is gone. The keeper calls it,
// again and again; agents that do not answer must not hold it up.
func (n *Node) buryPorts() {
	for _, key := range n.path.deadPorts() {
		n.own.spawn(func() { n.buryPort(key) })
	}
}

// buryPort looks after a port whose device is gone. When something is being done to
// its sandbox it is left for the next time.
func (n *Node) buryPort(key portKey) {
	n.mu.Lock()
	b := n.boxes[key.sandbox]
	n.mu.Unlock()
	if b == nil || !b.op.TryLock() {
		return
	}
	defer b.op.Unlock()
	n.bury(b, key)
}

// bury is for a device that is gone while the sandbox is not: the interface was
// deleted from inside. That is a disconnect by other means: the endpoint goes, and
// the sandbox is not joined again when it is next started. The caller holds b.op.
func (n *Node) bury(b *box, key portKey) {
	n.mu.Lock()
	var nw *network
	for _, e := range b.sb.Endpoints {
		if e.IfName == key.ifName && b.devices[key.ifName] != nil {
			nw = n.networks[e.NetworkID]
		}
	}
	f, a, name := b.foreign, b.agent, b.sb.Spec.Name
	n.mu.Unlock()
	if nw == nil || !n.path.portDead(key) {
		return // it has gone, or another took its name
	}
	ctx, cancel := n.bounded(n.ctx)
	defer cancel()
	if f != nil && errors.Is(f.Check(ctx), sandbox.ErrGone) {
		n.exited(b, sandbox.ExitStatus{}, sandbox.ErrGone)
		return
	}
	if a != nil {
		// Interfaces also go with a sandbox that ends; watch does what follows.
		if st, err := a.State(ctx); err != nil || st.Phase != sandbox.Running {
			return
		}
	}
	n.log.Warn("an interface was deleted from inside", "sandbox", name, "interface", key.ifName)
	n.mu.Lock()
	e := wayOut(b.sb.Endpoints)
	outside := e != nil && e.IfName == key.ifName
	n.mu.Unlock()
	freed, err := n.unplug(ctx, b, nil, nw.ID)
	n.mu.Lock()
	b.unjoinLocked(nw.Name)
	n.mu.Unlock()
	if !outside { // the way out itself comes back when the networks next change
		err = errors.Join(err, n.settle(ctx, b))
	}
	if err = errors.Join(err, n.reroute(ctx, b, defaultRoutes{}), n.save(b)); err != nil {
		n.log.Warn("after an interface was deleted from inside", "sandbox", name, "error", err)
	}
	n.release(freed)
	n.emitNetwork("disconnect", &nw.Network, key.sandbox)
}

var errDiedAttaching = errors.New("the daemon died while it was attached")

// restoreForeign opens the interfaces of a foreign namespace again. Endpoints
// whose interface was deleted meanwhile are released; an attach that was under way
// fails, with what there is of it left to be undone. The namespace has to be the
// one the journal knows; a record of a version that did not note it is believed
// this once.
func (n *Node) restoreForeign(ctx context.Context, b *box) error {
	n.mu.Lock()
	sb := copySandbox(&b.sb)
	expect := b.nsID
	n.mu.Unlock()
	attached := sb.State == cnm.Running
	if !attached && expect == (sandbox.NamespaceID{}) {
		return errDiedAttaching // before it entered: nothing of ours is there
	}
	f, err := n.openForeign(ctx, &sb, expect)
	if err != nil {
		return err
	}
	n.mu.Lock()
	b.foreign, b.nsID = f, f.ID()
	n.mu.Unlock()
	for _, i := range n.interfaces(&sb) {
		d, err := f.Reopen(ctx, i)
		switch {
		case err == nil:
			n.mu.Lock()
			b.devices[i.Name] = d
			n.mu.Unlock()
		case attached && !errors.Is(err, sandbox.ErrNoInterface):
			return err
		}
	}
	if !attached {
		return errDiedAttaching
	}
	n.dropLost(b)
	if err := n.save(b); err != nil {
		n.log.Error("journal", "sandbox", sb.Spec.Name, "error", err)
	}
	return nil
}
