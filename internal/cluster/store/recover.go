package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"weft/internal/cnm"
)

// ForceNewCluster makes the manager whose store lies in cfg.Dir the only one of its
// cluster, with all it has; the others become workers. It is for a cluster whose
// majority of voters is lost for good: if they still run, there are two clusters.
// The store must not be open; cfg.Stream is not used.
func ForceNewCluster(cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	f, err := openFiles(&cfg)
	if err != nil {
		return err
	}
	defer f.log.close()
	s := &Store{cfg: cfg, machine: newMachine(), changed: make(chan struct{})}
	one := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(cfg.NodeID), Address: raft.ServerAddress(cfg.Addr)}
	_, nowhere := raft.NewInmemTransport(one.Address)
	defer nowhere.Close()
	err = raft.RecoverCluster(cfg.raftConfig(), alone{fsm{s}}, f.log, f.log, f.snaps, nowhere, raft.Configuration{Servers: []raft.Server{one}})
	if err != nil {
		return fmt.Errorf("cluster store in %s: make a new cluster of it: %w", cfg.Dir, err)
	}
	return nil
}

// alone is an fsm whose snapshot has one manager.
type alone struct{ fsm }

func (a alone) Snapshot() (raft.FSMSnapshot, error) {
	state := *a.s.State()
	self, known := state.Nodes.Get(a.s.cfg.NodeID)
	if !known {
		return nil, cnm.Errorf(cnm.NotFound, "node %s is not in the store: it is another node's", a.s.cfg.NodeID)
	}
	for id, n := range state.Nodes.All() {
		if id != self.ID && n.Spec.Role == cnm.Manager {
			n.Spec.Role, n.Control, n.Version = cnm.Worker, netip.AddrPort{}, state.Version
			state.Nodes = state.Nodes.with(id, n)
		}
	}
	self.Spec.Role = cnm.Manager
	state.Nodes = state.Nodes.with(self.ID, self)
	return image{&state}, nil
}

// Backup writes the state this manager knows to a file, secrets included, with
// mode 0600. There is the whole file or, with an error, none.
func (s *Store) Backup(path string) error {
	if err := writeFile(path, s.State().write); err != nil {
		return fmt.Errorf("back up the swarm to %s: %w", path, err)
	}
	return nil
}

// Restore replaces the state with that of a backup, on all managers. The leader
// alone can. The backup must be of this cluster, unless there is none yet.
func (s *Store) Restore(ctx context.Context, path string) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("restore the swarm: %w", err)
	}
	state, err := readState(bytes.NewReader(doc))
	if err == nil {
		err = newMachine().restore(state) // raft gives up when it is refused later
	}
	if err != nil {
		return fmt.Errorf("restore the swarm: backup %s cannot be used: %w", path, err)
	}
	if !s.IsLeader() {
		return s.named(raft.ErrNotLeader)
	}
	if has := s.State().Cluster.ID; has != "" && has != state.Cluster.ID {
		return cnm.Errorf(cnm.Conflict, "restore the swarm: backup %s is of swarm %s, this is %s", path, state.Cluster.ID, has)
	}
	limit := timeLeft(ctx)
	if limit == 0 {
		limit = time.Minute
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Size: int64(len(doc))}
	if err := s.raft.Restore(meta, io.NopCloser(bytes.NewReader(doc)), limit); err != nil {
		return fmt.Errorf("restore the swarm: %w", s.named(err))
	}
	return nil
}
