package node

import (
	"context"
	"sync/atomic"
	"time"

	"weft/internal/cnm"
)

// logRoundTime is how often a running sandbox is asked whether its log is whole,
// unless there are so many that one a second takes longer.
const logRoundTime = 10 * time.Second

// A logRound asks the running sandboxes for trouble with their logs, one a second
// in turn. The keeper has it.
type logRound struct {
	left  []*box
	begun time.Time
	busy  atomic.Bool // the one asked last has not answered
}

// next asks the next sandbox, if it is time.
func (l *logRound) next(n *Node, now time.Time) {
	if len(l.left) == 0 {
		if now.Sub(l.begun) < logRoundTime {
			return
		}
		l.begun = now
		n.mu.Lock()
		for _, b := range n.boxes {
			if b.agent != nil && b.sb.State == cnm.Running {
				l.left = append(l.left, b)
			}
		}
		n.mu.Unlock()
	}
	if len(l.left) == 0 || !l.busy.CompareAndSwap(false, true) {
		return
	}
	b := l.left[0]
	l.left = l.left[1:]
	if !n.own.spawn(func() {
		defer l.busy.Store(false)
		n.checkLog(n.ctx, b)
	}) {
		l.busy.Store(false)
	}
}

// checkLog asks a running sandbox whether its log is whole.
func (n *Node) checkLog(ctx context.Context, b *box) {
	a, done := n.lend(b)
	defer done()
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logCheckTimeout)
	defer cancel()
	if state, err := a.State(ctx); err == nil { // an agent that does not answer is for others to notice
		n.noteLogError(b, state.LogError)
	}
}

// noteLogError keeps what is wrong with the log of a run. The first time it is
// logged and published.
func (n *Node) noteLogError(b *box, text string) {
	if text == "" {
		return
	}
	n.mu.Lock()
	first := b.sb.LogError == ""
	b.sb.LogError = text
	sb := copySandbox(&b.sb)
	n.mu.Unlock()
	if !first {
		return
	}
	n.log.Warn("a sandbox's output is not all logged", "sandbox", sb.Spec.Name, "error", text)
	n.emitSandbox("log-error", &sb, "error", text)
}
