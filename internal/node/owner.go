package node

import "sync"

// An owner is what every goroutine of a node hangs on: it counts them, and
// closing stop ends them.
type owner struct {
	mu      sync.Mutex
	stopped bool
	stop    chan struct{}
	wg      sync.WaitGroup
}

func newOwner() *owner { return &owner{stop: make(chan struct{})} }

// spawn runs f as a goroutine of the node and reports whether it did: a node
// that is closing starts nothing. f must end soon after stop is closed.
func (o *owner) spawn(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return false
	}
	o.wg.Add(1)
	go func() {
		defer o.wg.Done()
		f()
	}()
	return true
}

// shut closes stop, once.
func (o *owner) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.stopped {
		o.stopped = true
		close(o.stop)
	}
}

// stopping reports whether shut was called.
func (o *owner) stopping() bool {
	select {
	case <-o.stop:
		return true
	default:
		return false
	}
}

// wait returns when every goroutine has ended.
func (o *owner) wait() { o.wg.Wait() }
