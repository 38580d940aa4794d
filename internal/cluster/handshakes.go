package cluster

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// handshakes are those under way on a control port, the oldest first.
type handshakes struct {
	places chan struct{} // one token for each
	mu     sync.Mutex
	all    []*handshake
}

// A handshake is one connection that has yet to say who it is.
type handshake struct {
	conn   net.Conn
	began  time.Time
	pushed atomic.Bool // its place was needed
}

func newHandshakes() *handshakes {
	return &handshakes{places: make(chan struct{}, maxHandshakes)}
}

// begin waits for a place; nil: ctx has ended.
func (s *handshakes) begin(ctx context.Context, c net.Conn) *handshake {
	for {
		select {
		case s.places <- struct{}{}:
			h := &handshake{conn: c, began: time.Now()}
			s.mu.Lock()
			s.all = append(s.all, h)
			s.mu.Unlock()
			return h
		default:
		}
		t := time.NewTimer(s.push())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// push ends the oldest handshake if it has had its time, and returns how long to
// wait before the next look.
func (s *handshakes) push() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.all {
		if h.pushed.Load() {
			continue
		}
		if left := slowTime - time.Since(h.began); left > 0 {
			return min(left, 10*time.Millisecond)
		}
		h.pushed.Store(true)
		h.conn.Close()
		break
	}
	return time.Millisecond
}

func (s *handshakes) end(h *handshake) {
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(o *handshake) bool { return o == h })
	s.mu.Unlock()
	<-s.places
}
