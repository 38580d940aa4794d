package node

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
	"weft/tap"
)

// Theory of operation: restore
//
// After a crash the journal says what should be, the agents say what is.
//
//	journal says         agent says     then
//	running              running        adopt its descriptors, go on
//	running              exited, gone   Exited with the status it recorded (137 if none)
//	running              nothing        Exited; its directory is left for the next daemon
//	created, RunDir set  running        the start was complete but for the journal: running
//	created, RunDir set  anything else  the daemon died within a start: undo it
//	                                    (of a foreign namespace: forget it)
//
// Endpoints whose interface does not exist (killed within a connect, or deleted from
// inside meanwhile) are released; interfaces without an endpoint are removed. Then the
// sandbox's way out and its default routes are brought in line (gwbridge.go). Runtime
// directories of this node that no sandbox claims are cleaned up.

// restoreParallel is how many agents are asked at a time.
const restoreParallel = 16

// restoreTimeout bounds how long one agent may take to answer.
const restoreTimeout = 10 * time.Second

// restoreSandboxes makes the journal's sandboxes the desired state again and
// connects to those that live.
func (n *Node) restoreSandboxes(ctx context.Context, records []sandboxRecord) error {
	boxes := make([]*box, len(records))
	n.mu.Lock()
	for i, r := range records {
		b := newBox(r.Sandbox)
		b.runDir, b.nsID, b.changed = r.RunDir, r.Namespace, r.Changed
		if b.runDir == "" {
			b.sb.Ports = nil
		}
		n.reacquireAllLocked(b)
		n.boxes[b.sb.ID] = b
		boxes[i] = b
	}
	n.mu.Unlock()
	n.removeOrphans(ctx)
	slots := make(chan struct{}, restoreParallel)
	var wg sync.WaitGroup
	for _, b := range boxes {
		if b.runDir == "" {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			n.restore(ctx, b)
			<-slots
		})
	}
	wg.Wait()
	// What cannot be is logged: the rest works, and who refuses to start helps
	// nobody.
	n.publish("")
	for _, b := range boxes {
		slots <- struct{}{}
		wg.Go(func() {
			n.settleRestored(b)
			<-slots
		})
	}
	wg.Wait()
	n.watchRestored(boxes)
	return ctx.Err()
}

// reacquireAllLocked takes the addresses b's endpoints have; an endpoint that
// cannot have them any more is dropped.
func (n *Node) reacquireAllLocked(b *box) {
	kept := b.sb.Endpoints[:0]
	for _, e := range b.sb.Endpoints {
		nw := n.networks[e.NetworkID]
		if nw == nil || b.runDir == "" {
			continue
		}
		if err := n.reacquireLocked(nw, &e); err != nil {
			n.log.Error("restore an endpoint", "sandbox", b.sb.Spec.Name, "network", nw.Name, "error", err)
			continue
		}
		kept = append(kept, e)
	}
	b.sb.Endpoints = kept
}

// restore brings one sandbox that had a runtime directory to the state it is
// really in. It does not publish.
func (n *Node) restore(ctx context.Context, b *box) {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	b.op.Lock()
	defer b.op.Unlock()
	if b.sb.Spec.Foreign != nil {
		if err := n.restoreForeign(ctx, b); err != nil {
			attached := b.sb.State == cnm.Running
			n.lost(ctx, b, sandbox.ExitStatus{}, err)
			if !attached { // nobody was told that it is there
				n.removeLocked(b)
			}
		}
		return
	}
	a, err := sandbox.Connect(ctx, b.runDir)
	if errors.Is(err, context.DeadlineExceeded) {
		// It lives and does not answer. The next daemon may find it better, as an
		// agent nobody claims, and end it; until then its directory stays.
		n.log.Error("an agent does not answer: its sandbox is given up", "sandbox", b.sb.Spec.Name, "dir", b.runDir, "error", err)
		n.mu.Lock()
		b.runDir = ""
		n.mu.Unlock()
		n.lost(context.WithoutCancel(ctx), b, sandbox.ExitStatus{}, err)
		return
	}
	if err != nil {
		st, serr := sandbox.ReadStatus(b.runDir)
		if serr == nil {
			err = nil
		}
		n.lost(ctx, b, st, err)
		return
	}
	n.mu.Lock()
	b.agent = a
	n.mu.Unlock()
	state, err := a.State(ctx)
	if err == nil && state.Phase == sandbox.Running {
		err = n.adopt(ctx, b, a)
	}
	switch {
	case err == nil && state.Phase == sandbox.Running:
		n.mu.Lock()
		b.sb.State, b.sb.PID, b.sb.NetNS, b.sb.Started, b.sb.Error = cnm.Running, a.PID(), a.NetNS(), state.Started, ""
		n.mu.Unlock()
		return
	case err == nil && state.Exit != nil:
		n.lost(ctx, b, *state.Exit, nil)
		return
	case err == nil:
		err = errors.New("the daemon died while it was started")
	}
	if kerr := a.Kill(ctx); kerr != nil {
		n.log.Error("end an agent", "sandbox", b.sb.Spec.Name, "error", kerr)
	}
	n.lost(ctx, b, sandbox.ExitStatus{}, err)
}

// adopt takes over the descriptors of a running sandbox's interfaces and brings
// endpoints and interfaces together.
func (n *Node) adopt(ctx context.Context, b *box, a *sandbox.Agent) error {
	list, err := a.Interfaces(ctx, n.cfg.TAPOffload)
	if err != nil {
		return err
	}
	for _, i := range list {
		known := false
		n.mu.Lock()
		for _, e := range b.sb.Endpoints {
			if e.IfName == i.Name && b.joinedLocked(&e) {
				b.devices[i.Name] = i.Device
				known = true
			}
		}
		b.changed = b.changed || !known
		n.mu.Unlock()
		if known {
			continue
		}
		i.Device.Close()
		if err := a.RemoveInterface(ctx, i.Name); err != nil {
			n.log.Error("remove an interface without endpoint", "sandbox", b.sb.Spec.Name, "interface", i.Name, "error", err)
		}
	}
	n.dropLost(b)
	return nil
}

// dropLost releases the endpoints of b that have no interface, and takes b off the
// networks of those that were deleted from inside meanwhile, as buryPort does.
// While restore runs nobody takes addresses, so the journal may follow later.
func (n *Node) dropLost(b *box) {
	var left []*network
	n.mu.Lock()
	kept := b.sb.Endpoints[:0]
	for _, e := range b.sb.Endpoints {
		if b.devices[e.IfName] != nil {
			kept = append(kept, e)
			continue
		}
		n.releaseLocked(&e)
		b.changed = true
		if b.joinedLocked(&e) {
			b.unjoinLocked(e.Network)
			left = append(left, n.networks[e.NetworkID])
		}
	}
	b.sb.Endpoints = kept
	n.mu.Unlock()
	for _, nw := range left {
		n.emitNetwork("disconnect", &nw.Network, b.sb.ID)
	}
}

// joinedLocked reports whether e's network is one of those b is to be on: of a
// connect that was under way it is not yet.
func (b *box) joinedLocked(e *cnm.Endpoint) bool {
	return e.WayOut || slices.ContainsFunc(b.sb.Spec.Networks, func(j cnm.NetworkJoin) bool { return j.Network == e.Network })
}

// lost is what follows for a sandbox that is found not to run. One that was
// running has exited; one that was being started never was.
func (n *Node) lost(ctx context.Context, b *box, st sandbox.ExitStatus, cause error) {
	n.mu.Lock()
	ran := b.sb.State == cnm.Running || !st.Finished.IsZero()
	n.mu.Unlock()
	if ran {
		n.exited(b, st, cause)
		return
	}
	n.startFailed(ctx, b, cause)
}

// watchRestored starts what runs beside a running sandbox. It is the last part,
// for an exit needs a switch to take ports off.
func (n *Node) watchRestored(boxes []*box) {
	for _, b := range boxes {
		n.mu.Lock()
		agent := b.agent
		n.mu.Unlock()
		if agent == nil {
			continue
		}
		if err := n.save(b); err != nil {
			n.log.Error("journal", "sandbox", b.sb.Spec.Name, "error", err)
		}
		n.own.spawn(func() { n.watch(b, agent) })
	}
}

// boxRoot is where the runtime directories of this node's sandboxes are. Several
// nodes of one user may share Config.RunDir.
func (n *Node) boxRoot() string { return filepath.Join(n.cfg.RunDir, "node-"+cnm.ShortID(n.id)) }

// removeOrphans ends agents of this node that no sandbox of the journal claims.
func (n *Node) removeOrphans(ctx context.Context) {
	entries, err := os.ReadDir(n.boxRoot())
	if err != nil {
		return
	}
	n.mu.Lock()
	claimed := make(map[string]bool)
	for _, b := range n.boxes {
		claimed[b.runDir] = true
	}
	n.mu.Unlock()
	for _, e := range entries {
		dir := filepath.Join(n.boxRoot(), e.Name())
		if claimed[dir] {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
		if a, err := sandbox.Connect(ctx, dir); err == nil {
			a.Kill(ctx)
			a.Close()
		}
		cancel()
		if err := sandbox.Remove(dir); err != nil {
			n.log.Warn("remove a runtime directory nobody claims", "dir", dir, "error", err)
		}
	}
}

// disconnect releases what connects this daemon to its sandboxes, which live on.
func (n *Node) disconnect() {
	n.mu.Lock()
	boxes := slices.Collect(maps.Values(n.boxes))
	n.mu.Unlock()
	for _, b := range boxes {
		b.op.Lock() // what is under way fails soon: its context has ended
		n.stopNames(b)
		n.parted(b)
		n.mu.Lock()
		devices, foreign := b.devices, b.foreign
		b.devices, b.foreign = make(map[string]*tap.Device), nil
		n.mu.Unlock()
		for _, d := range devices {
			d.Close()
		}
		if foreign != nil {
			foreign.Close()
		}
		b.op.Unlock()
	}
}
