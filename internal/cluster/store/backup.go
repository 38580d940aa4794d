package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"

	"weft/internal/cnm"
)

// Theory of operation: backups
//
// A backup is the state as a stream (snapshot.go), secrets and the root's key
// included. It is restored where there is no store: one is made whose only entry is
// a snapshot of that state, with one manager, so that there is the whole store or,
// after an error, none that anybody opens.
//
// The other nodes take only what is newer than what they know, and they may know of
// more than the backup does. So the restored state's version, which goes on as the
// index of raft's log, is the clock's: microseconds since 1970. Versions rise by one
// with a change, far slower than that, so that one is behind all that came before,
// a restored state of earlier included.

// Backup writes the state that this manager knows. One that does not lead may be a
// moment behind.
func (s *Store) Backup(w io.Writer) error {
	if err := s.State().write(w); err != nil {
		return fmt.Errorf("back up the swarm: %w", err)
	}
	return nil
}

// backupBegin are a backup's first bytes.
var backupBegin = []byte(`{"Head":{"Format":"` + stateFormat + `",`)

// ReadBackup reads a backup to its end, and checks that a manager can go on with it.
// Errors are [cnm.Invalid].
func ReadBackup(r io.Reader) (*State, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	begin, err := in.Peek(len(backupBegin))
	switch {
	case len(begin) == 0 && errors.Is(err, io.EOF):
		return nil, badBackup(errors.New("it is empty"))
	case err != nil && !errors.Is(err, io.EOF):
		return nil, badBackup(err)
	case !bytes.HasPrefix(backupBegin, begin):
		return nil, badBackup(errors.New("it is no backup of a swarm: it does not begin like one"))
	}
	s, err := readState(in)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, badBackup(err)
	}
	return s, nil
}

func badBackup(err error) error {
	return cnm.Errorf(cnm.Invalid, "the backup cannot be used: %w", err)
}

// check refuses a state that no manager can go on with, whole as it may be.
func (s *State) check() error {
	c := &s.Cluster
	switch {
	case c.ID == "":
		return errors.New("there is no swarm in it: the manager it is of had none yet")
	case len(c.GossipKeys) == 0 || len(c.GossipKeys) > MaxGossipKeys:
		return fmt.Errorf("%d gossip keys found, 1 to %d expected", len(c.GossipKeys), MaxGossipKeys)
	case s.Nodes.Len() > MaxNodes || s.Networks.Len() > MaxNetworks || s.Endpoints.Len() > MaxEndpoints:
		return fmt.Errorf("it has %d nodes, %d networks and %d endpoints, at most %d, %d and %d expected",
			s.Nodes.Len(), s.Networks.Len(), s.Endpoints.Len(), MaxNodes, MaxNetworks, MaxEndpoints)
	}
	if err := checkRoots(c.Roots); err != nil {
		return err
	}
	if len(c.Roots[0].Key) == 0 {
		return errors.New("the key of the root certificate is missing")
	}
	return newMachine().restore(s)
}

// Restore makes a store of a backup's state in cfg.Dir, which has none, with self as
// the only manager; other managers become workers. It returns the state that a store
// opened there has, with the unlock key that it needs if the swarm is locked.
// cfg.Stream is not used.
func Restore(cfg Config, backup *State, self PutNode) (*State, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(cfg.Dir); err == nil {
		return nil, cnm.Errorf(cnm.Conflict, "cluster directory %s is there already: a backup is restored into a new one", cfg.Dir)
	}
	ch := &change{State: *backup, index: max(backup.Version+1, uint64(max(self.Now.UnixMicro(), 0))), m: newMachine()}
	if err := self.apply(ch); err != nil {
		return nil, err
	}
	state := ch.State
	state.reign(self.ID)
	cfg.UnlockKey = state.Cluster.UnlockKey
	f, err := openFiles(&cfg)
	if err != nil {
		return nil, err
	}
	defer f.log.close()
	one := raft.Configuration{Servers: []raft.Server{cfg.server()}}
	_, nowhere := raft.NewInmemTransport(one.Servers[0].Address)
	defer nowhere.Close()
	sink, err := f.snaps.Create(raft.SnapshotVersionMax, state.Version, 1, one, 1, nowhere)
	if err == nil {
		err = image{&state}.Persist(sink)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster store in %s: restore a backup: %w", cfg.Dir, err)
	}
	return &state, nil
}
