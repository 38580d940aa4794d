package tap

import (
	"time"

	"golang.org/x/sys/unix"
)

// Theory of operation: lingering
//
// Sleeping and being woken costs more than forwarding a frame, most of all in a
// virtual machine, where waking another processor leaves the guest. So a waiter
// that has just had work stays for a moment:
//
// First it gives its processor to whoever else wants it, lingerYields times. Where
// all processors are busy this lets the senders fill the queues, and the next turn
// finds a run of frames to merge and write at once; nobody is woken for any of
// them. Against sleeping at once it raised UDP of 1400 bytes from 0.6 to 1.0 times
// the kernel bridge's rate on two processors. Where nobody else wants the
// processor it costs half a microsecond.
//
// Then it looks again and again for at most lingerSpin, which is for TCP, whose
// next superframe comes in less (0.70 to 0.77 times the kernel bridge). That is
// wasted where frames are rare, so patience stops it where it finds nothing.
const (
	lingerYields = 2
	lingerSpin   = 40 * time.Microsecond
)

// linger looks for up to limit events for a moment without sleeping.
func (p *Poller) linger(limit int) (int, unix.Errno) {
	for range lingerYields {
		// An ordinary system call: the thread may be away for milliseconds.
		unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if n, errno := epollWait(p.epoll, p.events[:limit], 0); n != 0 || errno != 0 {
			p.spin.near()
			return n, errno
		}
	}
	if !p.spin.worthIt() {
		return 0, 0
	}
	for start := time.Now(); time.Since(start) < lingerSpin; {
		if n, errno := epollWait(p.epoll, p.events[:limit], 0); n != 0 || errno != 0 {
			p.spin.hit()
			return n, errno
		}
	}
	p.spin.miss()
	return 0, 0
}

// patience decides whether spinning is worth it from how it went before. The
// zero value is willing. A miss weighs as much as missCost hits; who has lost
// patience gets it back by work that came at once, and is tried again after
// retryAfter waits in any case.
type patience struct {
	score   int8
	skipped uint8
}

const (
	patienceMax = 8
	missCost    = 4
	retryAfter  = 64
)

func (p *patience) worthIt() bool {
	if p.score >= 0 {
		return true
	}
	if p.skipped++; p.skipped >= retryAfter {
		*p = patience{}
		return true
	}
	return false
}

func (p *patience) hit() { p.score = min(p.score+1, patienceMax) }

func (p *patience) miss() { p.score -= missCost }

// near notes work that came before spinning began.
func (p *patience) near() {
	if p.score < 0 {
		p.score++
	}
}
