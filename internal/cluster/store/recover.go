package store

import (
	"fmt"
	"net/netip"

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
	one := cfg.server()
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
	state.reign(self.ID)
	return image{&state}, nil
}

// reign makes a node the only manager of a state; the others become workers.
func (s *State) reign(manager string) {
	for id, n := range s.Nodes.All() {
		switch {
		case id == manager:
			n.Spec.Role = cnm.Manager
		case n.Spec.Role == cnm.Manager:
			n.Spec.Role, n.Control, n.Version = cnm.Worker, netip.AddrPort{}, s.Version
		default:
			continue
		}
		s.Nodes = s.Nodes.with(id, n)
	}
}
