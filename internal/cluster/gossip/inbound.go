package gossip

import (
	"net"
	"slices"
	"sync"
	"time"
)

// Theory of operation: streams that others open
//
// memberlist takes every stream, with a goroutine and up to 20 MiB before it can tell
// whether it is of a member. So there are maxInbound at a time. When all places are
// taken the oldest stream, if it has had slowStream, is cut off for the newest: who
// connects and says nothing keeps no member out. A member's message that is lost so
// is found by digest.
const (
	maxInbound = 32
	slowStream = 500 * time.Millisecond
)

// inbound are the streams that are open, the oldest first.
type inbound struct {
	out chan net.Conn // to memberlist

	mu   sync.Mutex
	open []*inStream
}

type inStream struct {
	net.Conn
	of    *inbound
	began time.Time
}

// StreamCh is part of memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.inbound.out }

// Shutdown is part of memberlist.Transport.
func (t *transport) Shutdown() error {
	err := t.NodeAwareTransport.Shutdown()
	t.ending.Do(func() { close(t.down) })
	return err
}

// admit hands the streams of the transport below on, until that has ended: it waits
// for each to be taken, also while it ends.
func (t *transport) admit() {
	in := t.NodeAwareTransport.StreamCh()
	for {
		select {
		case <-t.down:
			return
		case c := <-in:
			if t.stop.Err() != nil {
				c.Close()
				continue
			}
			s := t.inbound.take(c, t.crowded)
			if s == nil {
				continue
			}
			select {
			case t.inbound.out <- s:
			case <-t.stop.Done():
				s.Close()
			}
		}
	}
}

// take gives a stream a place; nil: there is none, and it is closed.
func (in *inbound) take(c net.Conn, crowded func()) *inStream {
	now := time.Now()
	in.mu.Lock()
	var old *inStream
	full := len(in.open) >= maxInbound
	if full && now.Sub(in.open[0].began) >= slowStream {
		old, in.open, full = in.open[0], in.open[1:], false
	}
	s := &inStream{c, in, now}
	if !full {
		in.open = append(in.open, s)
	}
	in.mu.Unlock()
	if old != nil {
		crowded()
		old.Conn.Close()
	}
	if full {
		crowded()
		c.Close()
		return nil
	}
	return s
}

// Close gives the place back.
func (s *inStream) Close() error {
	s.of.mu.Lock()
	s.of.open = slices.DeleteFunc(s.of.open, func(o *inStream) bool { return o == s })
	s.of.mu.Unlock()
	return s.Conn.Close()
}
