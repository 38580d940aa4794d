package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"weft/internal/cnm"
)

// Theory of operation: a disk that takes nothing
//
// What cannot be written is not agreed on: the command that needed it is refused
// with [ErrDisk], raft's leader steps down, and nothing that was there before has
// changed, for bbolt writes beside it. Of one value raft will not go on without: the
// term, whose loss it answers with a panic. Writing that is tried again until there
// is space; raft waits, and so does not lead, not vote and not follow, as if this
// manager were cut off. Trouble says so meanwhile. Closing the store ends the wait:
// what raft does after that, it cannot do with anybody.

// ErrDisk says that a manager cannot write its store. Nothing was done.
var ErrDisk = errors.New("the manager's store cannot be written")

// diskRetry is how often a write that raft waits for is tried again.
const diskRetry = 100 * time.Millisecond

// A disk is the state of the writing of a log.
type disk struct {
	log     *slog.Logger
	stop    <-chan struct{}
	patient atomic.Bool           // the term is waited for
	trouble atomic.Pointer[error] // what it waits for
}

// update writes, and names the error.
func (l *logStore) update(change func(*bbolt.Tx) error) error {
	if err := l.db.Update(change); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return nil
}

// untilWritten tries a write until it succeeds or the store is closed.
func (l *logStore) untilWritten(write func() error) error {
	err := write()
	if err == nil || !l.disk.patient.Load() {
		return err
	}
	l.disk.trouble.Store(&err)
	l.disk.log.Error("this manager waits until its store can be written: make space on the disk", "file", l.db.Path(), "error", err)
	t := time.NewTicker(diskRetry)
	defer t.Stop()
	for {
		select {
		case <-l.disk.stop:
			return nil
		case <-t.C:
		}
		if again := write(); again == nil {
			l.disk.trouble.Store(nil)
			l.disk.log.Info("the manager's store can be written again", "file", l.db.Path())
			return nil
		}
	}
}

// Trouble returns nil, or an [ErrDisk] while this manager can do nothing for want of
// space on its disk.
func (s *Store) Trouble() error {
	if err := s.log.disk.trouble.Load(); err != nil {
		return cnm.Errorf(cnm.Unavailable, "%w: make space on the disk of %s", *err, s.cfg.Dir)
	}
	return nil
}
