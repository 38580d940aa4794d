package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"weft/internal/cluster/pki"
)

// Why somebody was turned away: the names of the counters.
const (
	refusedExpired  = "expired"  // a certificate out of its time
	refusedForeign  = "foreign"  // a certificate of another swarm
	refusedRole     = "role"     // a worker's certificate for what is the managers'
	refusedRemoved  = "removed"  // a node that is no longer part of the swarm, or no manager any more
	refusedToken    = "token"    // a join with a secret that is none, or no longer
	refusedJoin     = "join"     // a join that cannot be
	refusedProtocol = "protocol" // no protocol of the control port, or several
	refusedGarbage  = "garbage"  // no TLS
	refusedSlow     = "slow"     // a handshake that did not end in time
	refusedCrowd    = "crowd"    // too many strangers at a time
	refusedMessage  = "message"  // a call too big, unreadable, or of an unknown method
	refusedOther    = "handshake"
)

// refusedEvery is how often one refusal of a kind is logged.
const refusedEvery = time.Minute

// A refusals counts what was turned away, by reason, and logs the first of each
// reason and then one now and then: who knocks again and again does not fill the log.
type refusals struct {
	log  *slog.Logger
	mu   sync.Mutex
	n    map[string]uint64
	last map[string]time.Time // logged
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, n: make(map[string]uint64), last: make(map[string]time.Time)}
}

func (r *refusals) note(reason string, from net.Addr, err error) {
	now := time.Now()
	r.mu.Lock()
	r.n[reason]++
	n, last := r.n[reason], r.last[reason]
	loud := last.IsZero() || now.Sub(last) >= refusedEvery
	if loud {
		r.last[reason] = now
	}
	r.mu.Unlock()
	if loud {
		r.log.Warn("refused on the control port", "reason", reason, "from", from, "error", err, "refused so far", n)
	}
}

// counts returns how many were refused, by reason.
func (r *refusals) counts() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.n)
}

// reasonOf names what went wrong in a handshake.
func reasonOf(err error) string {
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, pki.ErrExpired):
		return refusedExpired
	case errors.Is(err, pki.ErrForeign):
		return refusedForeign
	case errors.Is(err, pki.ErrRole):
		return refusedRole
	case errors.Is(err, errProtocol):
		return refusedProtocol
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errSlow):
		return refusedSlow
	case errors.As(err, &header):
		return refusedGarbage
	}
	return refusedOther
}
