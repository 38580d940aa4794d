package nettest

import (
	"sync"
	"time"
)

// A Clock is a virtual one: it stands still until it is advanced. The zero value
// is not ready, use NewClock. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows 2026-01-01 00:00 UTC.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Nanos returns the time in nanoseconds since 1970, as captures count.
func (c *Clock) Nanos() int64 { return c.Now().UnixNano() }

// Seconds returns the time in seconds since 1970, as the data path's coarse clock
// counts.
func (c *Clock) Seconds() uint32 { return uint32(c.Now().Unix()) }

// Advance moves the clock forward and returns the new time.
func (c *Clock) Advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}
