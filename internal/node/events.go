package node

import (
	"context"
	"strconv"
	"sync"
	"time"

	"weft/internal/cnm"
)

// Theory of operation: events
//
// A ring holds the last Config.MaxEvents events; it is what `since` looks back
// on. Every reader has a channel of readerDepth events. Publishing never waits:
// a reader whose channel is full loses events, and the first event that fits
// again is preceded by a marker (type "daemon", action "events-lost") that says
// how many. One mutex guards ring and readers; it is held for copying only.

const (
	defaultMaxEvents = 1024
	readerDepth      = 256
)

type eventLog struct {
	mu      sync.Mutex
	ring    []cnm.Event
	next    int // where the next event goes
	full    bool
	readers map[*eventReader]struct{}
	lost    uint64 // summed over all readers
	closed  bool
}

type eventReader struct {
	ch   chan cnm.Event
	lost int
}

func newEventLog(max int) *eventLog {
	if max <= 0 {
		max = defaultMaxEvents
	}
	return &eventLog{ring: make([]cnm.Event, max), readers: make(map[*eventReader]struct{})}
}

// publish appends e and hands it to every reader that keeps up.
func (l *eventLog) publish(e cnm.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.ring[l.next] = e
	if l.next++; l.next == len(l.ring) {
		l.next, l.full = 0, true
	}
	for r := range l.readers {
		l.offerLocked(r, e)
	}
}

func (l *eventLog) offerLocked(r *eventReader, e cnm.Event) {
	if r.lost > 0 && cap(r.ch)-len(r.ch) >= 2 {
		r.ch <- lostMarker(e.Time, r.lost)
		r.lost = 0
	}
	if r.lost > 0 || len(r.ch) == cap(r.ch) {
		r.lost++
		l.lost++
		return
	}
	r.ch <- e
}

// historyLocked returns what the ring holds from since on, oldest first.
func (l *eventLog) historyLocked(since time.Time) []cnm.Event {
	var out []cnm.Event
	add := func(events []cnm.Event) {
		for _, e := range events {
			if !e.Time.Before(since) {
				out = append(out, e)
			}
		}
	}
	if l.full {
		add(l.ring[l.next:])
	}
	add(l.ring[:l.next])
	return out
}

// subscribe returns the history from since on and a reader for what follows, with
// nothing missing in between. A zero since asks for no history.
func (l *eventLog) subscribe(since time.Time) ([]cnm.Event, *eventReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var past []cnm.Event
	if !since.IsZero() {
		past = l.historyLocked(since)
	}
	r := &eventReader{ch: make(chan cnm.Event, readerDepth)}
	if l.closed {
		close(r.ch)
		return past, r
	}
	l.readers[r] = struct{}{}
	return past, r
}

func (l *eventLog) unsubscribe(r *eventReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.readers[r]; ok {
		delete(l.readers, r)
		close(r.ch)
	}
}

// close ends every reader.
func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for r := range l.readers {
		delete(l.readers, r)
		close(r.ch)
	}
}

func (l *eventLog) lostTotal() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Events returns the events from since on, the history as far as it is kept,
// then live ones. The channel is closed at until (unless zero), when ctx ends
// and when the node closes. A reader that falls behind loses events and is told
// by a "daemon events-lost" event.
func (n *Node) Events(ctx context.Context, since, until time.Time) <-chan cnm.Event {
	past, r := n.events.subscribe(since)
	out := make(chan cnm.Event)
	var deadline <-chan time.Time // nil: never
	if !until.IsZero() {
		deadline = time.After(time.Until(until))
	}
	started := n.own.spawn(func() {
		defer close(out)
		defer n.events.unsubscribe(r)
		for _, e := range past {
			if !until.IsZero() && e.Time.After(until) || !n.deliver(ctx, out, e) {
				return
			}
		}
		for {
			select {
			case e, ok := <-r.ch:
				if !ok || !n.deliver(ctx, out, e) {
					return
				}
			case <-deadline:
				return
			case <-ctx.Done():
				return
			}
		}
	})
	if !started {
		n.events.unsubscribe(r)
		close(out)
	}
	return out
}

// deliver hands e over and reports false when ctx or the node ended first.
func (n *Node) deliver(ctx context.Context, out chan<- cnm.Event, e cnm.Event) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
	case <-n.own.stop:
	}
	return false
}

func lostMarker(at time.Time, lost int) cnm.Event {
	return cnm.Event{Time: at, Type: "daemon", Action: "events-lost", Attributes: map[string]string{"count": strconv.Itoa(lost)}}
}

// emitNetwork publishes a network event; sandbox is the id of the sandbox
// concerned, or empty.
func (n *Node) emitNetwork(action string, nw *cnm.Network, sandbox string) {
	attr := map[string]string{"name": nw.Name, "type": cnm.APIDriver(nw.Driver)}
	if sandbox != "" {
		attr["container"] = sandbox
	}
	n.events.publish(cnm.Event{Time: n.now(), Type: "network", Action: action, ActorID: nw.ID, Attributes: attr})
}

// emitSandbox publishes a container event with the sandbox's labels and the given
// pairs of further attributes.
func (n *Node) emitSandbox(action string, sb *cnm.Sandbox, pairs ...string) {
	attr := make(map[string]string, len(sb.Spec.Labels)+2)
	for k, v := range sb.Spec.Labels {
		attr[k] = v
	}
	attr["name"] = sb.Spec.Name
	attr["image"] = sb.Spec.Image()
	for i := 0; i+1 < len(pairs); i += 2 {
		attr[pairs[i]] = pairs[i+1]
	}
	n.events.publish(cnm.Event{Time: n.now(), Type: "container", Action: action, ActorID: sb.ID, Attributes: attr})
}
