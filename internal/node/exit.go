package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
	"weft/tap"
)

// watch waits for the end of a sandbox and does what follows from it.
func (n *Node) watch(b *box, a *sandbox.Agent) {
	st, err := a.Wait(n.ctx)
	if n.own.stopping() {
		return // the daemon ends, the sandbox does not
	}
	b.op.Lock()
	defer b.op.Unlock()
	n.mu.Lock()
	current := b.agent == a
	n.mu.Unlock()
	if !current {
		return
	}
	if err != nil {
		// Whatever went wrong, nothing of it may go on unseen.
		a.Kill(n.ctx)
	}
	n.exited(b, st, err)
}

// exited turns a running sandbox into an exited one. The caller holds b.op.
func (n *Node) exited(b *box, st sandbox.ExitStatus, cause error) {
	n.mu.Lock()
	before := copySandbox(&b.sb)
	n.mu.Unlock()
	ctx, cancel := n.bounded(n.ctx)
	defer cancel()
	freed := n.dismantle(ctx, b)
	n.noteLogError(b, st.LogError)
	if before.Spec.Foreign == nil && cause != nil {
		// An agent that was killed left no status, and with it its processes
		// were killed: that reads as 137.
		st.Code, st.Signal = 137, sigKill
	}
	if st.Finished.IsZero() {
		st.Finished = n.now()
	}
	n.mu.Lock()
	b.sb.State, b.sb.ExitCode, b.sb.Finished = cnm.Exited, st.Code, st.Finished
	if cause != nil {
		b.sb.Error = cause.Error()
	}
	if !st.Started.IsZero() {
		b.sb.Started = st.Started
	}
	sb := copySandbox(&b.sb)
	next := b.next
	b.next = newOutcome()
	n.mu.Unlock()
	if err := n.save(b); err != nil {
		n.log.Error("journal", "sandbox", sb.Spec.Name, "error", err)
	}
	n.release(freed)
	n.emitSandbox("die", &sb, "exitCode", itoa(st.Code), "execDuration", itoa(int(sb.Finished.Sub(sb.Started)/time.Second)))
	n.emitJoined("disconnect", &before)
	next.tell(st.Code)
	if sb.Spec.AutoRemove {
		if err := n.removeLocked(b); err != nil {
			n.log.Error("remove after exit", "sandbox", sb.Spec.Name, "error", err)
		}
	}
}

// dismantle takes a sandbox's interfaces off the switch, closes their devices,
// parts with its agent and removes its runtime directory. It works on whatever
// part of that exists. The endpoints it returns are to be released once the
// journal no longer has them. The caller holds b.op.
func (n *Node) dismantle(ctx context.Context, b *box) (freed []cnm.Endpoint) {
	n.closePorts(b)
	n.mu.Lock()
	devices, foreign, dir, eps := b.devices, b.foreign, b.runDir, b.sb.Endpoints
	b.devices = make(map[string]*tap.Device)
	name := b.sb.Spec.Name
	n.mu.Unlock()
	if len(devices) > 0 {
		if err := n.publish(b.sb.ID); err != nil && !errors.Is(err, errPathClosed) {
			n.log.Error("publish after an exit", "sandbox", name, "error", err)
		}
		n.endFlows(foreign != nil, eps...)
	}
	if foreign != nil {
		n.leaveForeign(ctx, foreign, devices)
	}
	for _, d := range devices {
		d.Close()
	}
	n.stopNames(b)
	n.parted(b)
	n.mu.Lock()
	freed, b.sb.Endpoints = b.sb.Endpoints, nil
	b.foreign, b.runDir = nil, ""
	b.sb.PID, b.sb.NetNS = 0, ""
	n.mu.Unlock()
	if dir != "" {
		if err := sandbox.Remove(dir); err != nil {
			n.log.Warn("remove runtime directory", "sandbox", name, "error", err)
		}
	}
	return freed
}

// emitJoined publishes a network event for every endpoint of sb, which runs.
func (n *Node) emitJoined(action string, sb *cnm.Sandbox) {
	n.mu.Lock()
	on := slices.Clone(sb.Endpoints)
	if e, ok := n.modeEndpointLocked(sb); ok {
		on = append(on, e)
	}
	n.mu.Unlock()
	for _, e := range on {
		n.mu.Lock()
		nw := n.networks[e.NetworkID]
		n.mu.Unlock()
		if nw != nil {
			n.emitNetwork(action, &nw.Network, sb.ID)
		}
	}
}
