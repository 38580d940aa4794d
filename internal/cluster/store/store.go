package store

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"weft/internal/cnm"
)

// Theory of operation: the store
//
// raft's own goroutines agree on the log and hand what is agreed to the machine,
// one entry after the other. The store puts an API around that. Two goroutines are
// its own: one tells of changes of leadership, one keeps the key file at the
// cluster's unlock key; both end with Close.
//
// A change is told by closing a channel: whoever waits takes the state and the
// channel together, so that none is missed, and a slow reader sees the last of
// several changes only.
//
// A Store is either open or closed. A manager that is removed stays open, does not
// lead any more, and refuses commands.
type Store struct {
	cfg     Config
	machine *machine
	log     *logStore
	snaps   *snapStore
	trans   *raft.NetworkTransport
	raft    *raft.Raft

	mu      sync.Mutex
	changed chan struct{} // closed at the next change

	catching sync.Mutex
	caughtUp uint64 // the term in which CatchUp has succeeded

	stop    chan struct{}
	waiting sync.WaitGroup // own goroutines
	closing sync.Once
	closed  error
}

// files are what a store has on disk.
type files struct {
	key   dataKey
	log   *logStore
	snaps *snapStore
}

// openFiles opens what lies in the directory, and checks that it is whole.
func openFiles(cfg *Config) (*files, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster directory: %w", err)
	}
	key, err := openKey(cfg.Dir, cfg.UnlockKey)
	if err != nil {
		return nil, err
	}
	var seal cipher.AEAD
	if seal, err = newSeal(key.key); err != nil {
		return nil, err
	}
	f := &files{key: key}
	if f.log, err = openLog(filepath.Join(cfg.Dir, logName), seal); err != nil {
		return nil, err
	}
	f.snaps, err = openSnapshots(cfg.Dir, seal, cfg.logger())
	if err == nil {
		err = f.checkGap(cfg.Dir)
	}
	if err != nil {
		f.log.close()
		return nil, err
	}
	return f, nil
}

// adviceLost is what remains to be done about a store that is damaged.
const adviceLost = "give it up by \"weft swarm leave --force\", then join again if other managers are there, else \"weft swarm restore\" a backup"

// checkGap refuses a log that does not go on where the newest snapshot ends.
func (f *files) checkGap(dir string) error {
	snap, err := f.snaps.check()
	if err != nil {
		return err
	}
	last, err := f.log.LastIndex()
	for i := snap + 1; err == nil && i <= last; i++ {
		if err = f.log.GetLog(i, new(raft.Log)); errors.Is(err, raft.ErrLogNotFound) {
			err = fmt.Errorf("cluster directory %s cannot be used: entry %d is neither in the log nor in a snapshot: %s", dir, i, adviceLost)
		}
	}
	return err
}

// Open opens a manager's store, or makes it, and takes part in the cluster. It
// takes over cfg.Stream, also when it fails.
func Open(cfg Config) (*Store, error) {
	s, err := open(cfg)
	if err != nil && cfg.Stream != nil {
		cfg.Stream.Close()
	}
	return s, err
}

func open(cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f, err := openFiles(&cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, machine: newMachine(), log: f.log, snaps: f.snaps, changed: make(chan struct{}), stop: make(chan struct{})}
	s.log.disk.log, s.log.disk.stop = cfg.Log, s.stop
	s.log.disk.patient.Store(!cfg.Bootstrap) // a cluster that cannot be begun is none
	s.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: newStream(cfg.Stream, cfg.Addr), MaxPool: 3, Timeout: cfg.Tuning.orDefaults().RPC, Logger: cfg.logger(),
	})
	if s.raft, err = raft.NewRaft(cfg.raftConfig(), fsm{s}, s.log, s.log, s.snaps, s.trans); err == nil && cfg.Bootstrap {
		err = s.bootstrap()
	}
	if err != nil {
		s.shut()
		return nil, fmt.Errorf("cluster store in %s: %w", cfg.Dir, err)
	}
	s.log.disk.patient.Store(true)
	seen := make(chan raft.Observation, 16)
	said := &managersSaid{log: cfg.Log}
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		said.heard(o.Data)
		_, leader := o.Data.(raft.LeaderObservation)
		_, state := o.Data.(raft.RaftState)
		return leader || state
	})
	s.raft.RegisterObserver(o)
	s.waiting.Go(func() { s.tellLeaders(o, seen, said) })
	s.waiting.Go(func() { s.keepLocked(f.key) })
	return s, nil
}

func (s *Store) bootstrap() error {
	has, err := raft.HasExistingState(s.log, s.log, s.snaps)
	if err != nil || has {
		return err
	}
	return s.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{s.cfg.server()}}).Error()
}

// Close leaves the cluster to the others, and closes all files.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.stop)
		s.closed = s.shut()
		s.waiting.Wait()
		s.tell()
	})
	return s.closed
}

func (s *Store) shut() error {
	var errs []error
	if s.raft != nil {
		errs = append(errs, s.raft.Shutdown().Error())
	}
	s.trans.CloseStreams()
	errs = append(errs, s.trans.Close(), s.log.close())
	return errors.Join(errs...)
}

// tellLeaders makes watchers look when leadership changes.
func (s *Store) tellLeaders(o *raft.Observer, seen <-chan raft.Observation, said *managersSaid) {
	defer s.raft.DeregisterObserver(o)
	look := time.NewTicker(leaderlessTime / 4)
	defer look.Stop()
	for {
		id, _ := s.Leader()
		said.leads(id, time.Now())
		select {
		case <-s.stop:
			return
		case <-seen:
			s.tell()
		case <-look.C:
		}
	}
}

// keepLocked seals the data key with the cluster's unlock key, and again whenever
// that changes. What fails is tried again with the next change.
func (s *Store) keepLocked(key dataKey) {
	has := s.cfg.UnlockKey
	for {
		state, changed := s.Watch()
		if want := state.Cluster.UnlockKey; want != has && state.Version > key.state {
			key.state = state.Version
			if err := writeKey(s.cfg.Dir, key, want); err != nil {
				s.cfg.Log.Error("lock the cluster's store", "error", err)
			} else {
				has = want
			}
		}
		select {
		case <-s.stop:
			return
		case <-changed:
		}
	}
}

// tell wakes who watches.
func (s *Store) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// State returns the state this manager knows. It costs nothing; see [State] for
// what a reader may do with it.
func (s *Store) State() *State { return s.machine.state.Load() }

// Watch returns the state and a channel that is closed when there may be another
// one, when leadership has changed, and when the store is closed.
func (s *Store) Watch() (*State, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.State(), s.changed
}

// Wait returns when this manager knows of the given version, as a [Result] has it:
// a manager that sent a command to the leader then sees what it did.
func (s *Store) Wait(ctx context.Context, version uint64) error {
	for {
		state, changed := s.Watch()
		if state.Version >= version {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for version %d of the swarm's state, %d is known: %w", version, state.Version, ctx.Err())
		case <-s.stop:
			return fmt.Errorf("wait for the swarm's state: %w", os.ErrClosed)
		case <-changed:
		}
	}
}

// Leader returns node and address of the manager that leads; both are empty when
// none does that this one knows of.
func (s *Store) Leader() (id, addr string) {
	a, i := s.raft.LeaderWithID()
	return string(i), string(a)
}

// IsLeader reports whether this manager leads, as far as it knows.
func (s *Store) IsLeader() bool { return s.raft.State() == raft.Leader }

// Apply has the managers agree on a command and returns what it did. Errors of the
// command itself have a [cnm.Kind]; nothing has changed then. [ErrNotLeader]: only
// the leader can. [ErrUncertain]: the managers did not agree in time.
func (s *Store) Apply(ctx context.Context, c Command) (Result, error) {
	doc, err := Encode(c)
	if err != nil {
		return Result{}, err
	}
	return s.ApplyEncoded(ctx, doc)
}

// ApplyEncoded is Apply of what [Encode] made, perhaps on another manager.
func (s *Store) ApplyEncoded(ctx context.Context, doc []byte) (Result, error) {
	if _, err := Decode(doc); err != nil {
		return Result{}, err // not for the log
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if err := s.Trouble(); err != nil {
		return Result{}, err // raft waits, and would not hear of it
	}
	f := s.raft.Apply(doc, timeLeft(ctx))
	if err := s.settle(ctx, f); err != nil {
		return Result{}, err
	}
	a := f.Response().(applied)
	return a.result, a.err
}

// Barrier returns when this manager, which must be the leader, knows of everything
// that was agreed before the call.
func (s *Store) Barrier(ctx context.Context) error {
	if err := s.Trouble(); err != nil {
		return err
	}
	return s.settle(ctx, s.raft.Barrier(timeLeft(ctx)))
}

// timeLeft returns the time until the deadline of ctx as raft wants it: 0 is no
// bound.
func timeLeft(ctx context.Context) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return max(time.Until(at), time.Millisecond)
	}
	return 0
}

// settle waits for raft's answer, and gives errors their names.
func (s *Store) settle(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // ends at the latest when raft does
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUncertain, ctx.Err())
	case err := <-done:
		return s.named(err)
	}
}

func (s *Store) named(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDisk):
		return cnm.Errorf(cnm.Unavailable, "%w: nothing was done: make space on the disk of %s", err, s.cfg.Dir)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		id, addr := s.Leader()
		if id == s.cfg.NodeID {
			id, addr = "", "" // it is about to be another
		}
		return &NotLeader{id, addr}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("the swarm's leader is busy, nothing was done: %w", context.DeadlineExceeded)
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// An fsm is what raft sees of the machine.
type fsm struct{ s *Store }

// applied is what Apply gives raft to carry back.
type applied struct {
	result Result
	err    error
}

// Apply is part of raft.FSM.
func (f fsm) Apply(e *raft.Log) any {
	r, changed, err := f.s.machine.apply(e.Index, e.Data)
	if changed {
		f.s.tell()
	}
	if err != nil {
		if _, unread := Decode(e.Data); unread != nil {
			f.s.cfg.Log.Error("this manager does not understand what the others agreed on, and no longer has their state: run the same weft on all", "entry", e.Index, "error", err)
		}
	}
	return applied{r, err}
}

// Snapshot is part of raft.FSM.
func (f fsm) Snapshot() (raft.FSMSnapshot, error) { return image{f.s.State()}, nil }

// Restore is part of raft.FSM.
func (f fsm) Restore(r io.ReadCloser) error {
	state, err := readState(r)
	if err == nil {
		err = f.s.machine.restore(state)
	}
	if err == nil {
		f.s.tell()
	}
	return err
}

// An image is a state on its way into a snapshot.
type image struct{ state *State }

// Persist is part of raft.FSMSnapshot.
func (i image) Persist(sink raft.SnapshotSink) error {
	if err := i.state.write(sink); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release is part of raft.FSMSnapshot.
func (i image) Release() {}
