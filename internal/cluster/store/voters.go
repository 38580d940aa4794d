package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"weft/internal/cnm"
)

// Theory of operation: who votes
//
// The number of voters is the largest odd one that there are managers for, at most
// five: an even one bears the loss of no more managers and is more easily lost.
// The other managers are standbys: they have a full copy and no vote. Who is a
// manager is in the state; it changes when a node joins, is promoted, demoted or
// removed, and then the leader calls Reconcile. Whether a manager answers plays no
// part: one that is thought to be dead keeps its vote until a user says otherwise.
//
// raft changes one server at a time, and each change must be agreed on by those who
// vote after it. So the votes of managers that do not answer are taken first, while
// those that do are enough: else a swarm of three that has lost one, and is to lose
// another by a user's word, would be left with two of whom one is not there. Beyond that
// the order keeps as many losses bearable as
// there can be on the way: who is gone is removed first, then new managers are
// taken in as standbys, then standbys get votes, those that came first before
// others, then votes that are too many are taken. A leader that is no manager any
// more, or has a vote too many, hands over and leaves the rest to its successor.

const maxVoters = 5

// A Server is a manager as raft knows it.
type Server struct {
	ID     string
	Addr   string
	Voter  bool
	Leader bool
}

// A step is one change of raft's servers.
type step struct {
	verb string // "remove", "add", "promote", "demote", "hand over"
	id   string
	addr string
}

// voterCount returns how many of some managers vote.
func voterCount(managers int) int { return min(maxVoters, managers-1+managers%2) }

// steps returns the changes that lead from the servers raft has to the managers
// there should be, in the order of their preference for a vote. Managers are never
// none.
func steps(has []Server, managers []Server) (out []step) {
	index := func(list []Server, id string) int {
		return slices.IndexFunc(list, func(s Server) bool { return s.ID == id })
	}
	var votes []string // of those that stay
	leaves := false    // the leader
	for _, s := range has {
		switch {
		case index(managers, s.ID) >= 0:
			if s.Voter {
				votes = append(votes, s.ID)
			}
		case s.Leader:
			leaves = true
		default:
			out = append(out, step{"remove", s.ID, ""})
		}
	}
	for _, m := range managers {
		if at := index(has, m.ID); at < 0 {
			out = append(out, step{"add", m.ID, m.Addr})
		} else if has[at].Addr != m.Addr {
			verb := "add"
			if has[at].Voter {
				verb = "promote" // raft takes the new address with the vote it has
			}
			out = append(out, step{verb, m.ID, m.Addr})
		}
	}
	want := voterCount(len(managers))
	for _, m := range managers {
		if len(votes) < want && !slices.Contains(votes, m.ID) {
			votes = append(votes, m.ID)
			out = append(out, step{"promote", m.ID, m.Addr})
		}
	}
	return append(out, surplus(has, managers, votes, want, leaves)...)
}

// surplus returns the steps that take votes: from the last in order, and from the
// leader only when there is nobody else.
func surplus(has, managers []Server, votes []string, want int, leaves bool) (out []step) {
	for _, m := range slices.Backward(managers) {
		leads := slices.ContainsFunc(has, func(s Server) bool { return s.ID == m.ID && s.Leader })
		if len(votes) > want && !leads && slices.Contains(votes, m.ID) {
			votes = slices.DeleteFunc(votes, func(id string) bool { return id == m.ID })
			out = append(out, step{"demote", m.ID, ""})
		}
	}
	if leaves {
		out = append(out, step{verb: "hand over"})
	}
	return out
}

// awayFirst orders steps for a time when a voter does not answer: the votes of those
// who are away go first, those of others last.
func awayFirst(list []step, has []Server, answers func(id string) bool) []step {
	if !slices.ContainsFunc(has, func(s Server) bool { return s.Voter && !answers(s.ID) }) {
		return list
	}
	slices.SortStableFunc(list, func(a, b step) int {
		return cmp.Compare(a.rank(answers), b.rank(answers))
	})
	return list
}

func (s step) rank(answers func(id string) bool) int {
	switch s.verb {
	case "remove", "demote":
		if answers(s.id) {
			return 2
		}
		return 0
	case "hand over":
		return 3
	}
	return 1
}

// Servers returns the managers raft knows, sorted by ID.
func (s *Store) Servers() ([]Server, error) {
	f := s.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, s.named(err)
	}
	leader, _ := s.Leader()
	var out []Server
	for _, r := range f.Configuration().Servers {
		out = append(out, Server{string(r.ID), string(r.Address), r.Suffrage == raft.Voter, string(r.ID) == leader})
	}
	slices.SortFunc(out, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// managers returns those of the state that can be reached, in the order they came.
func (s *State) managers() (out []Server) {
	var nodes []Node
	for _, n := range s.Nodes.All() {
		if n.Spec.Role == cnm.Manager && n.Control.IsValid() {
			nodes = append(nodes, n)
		}
	}
	slices.SortStableFunc(nodes, func(a, b Node) int { return a.Created.Compare(b.Created) })
	for _, n := range nodes {
		out = append(out, Server{ID: n.ID, Addr: n.Control.String()})
	}
	return out
}

// Reconcile makes the servers of raft those that are managers in the state, with
// the votes they should have. The leader calls it when one of both has changed, and
// when it has become the leader. It returns [ErrNotLeader] when the leader had to
// hand over: the next one goes on. answers tells who is there, as far as is known; it
// decides on the order of changes alone.
func (s *Store) Reconcile(ctx context.Context, answers func(id string) bool) error {
	if err := s.Barrier(ctx); err != nil {
		return err
	}
	has, err := s.Servers()
	if err != nil {
		return err
	}
	managers := s.State().managers()
	if len(managers) == 0 {
		return cnm.Errorf(cnm.Unavailable, "no manager of the swarm has an address: votes stay as they are")
	}
	for _, st := range awayFirst(steps(has, managers), has, answers) {
		s.cfg.Log.Info("change the managers", "step", st.verb, "node", st.id, "address", st.addr)
		if err := s.settle(ctx, s.start(ctx, st)); err != nil {
			return fmt.Errorf("%s manager %s: %w", st.verb, st.id, err)
		}
		if st.verb == "hand over" {
			return &NotLeader{}
		}
	}
	return nil
}

// HandOver makes another voter the leader, the one that knows most. A leader that
// is going to close calls it, so that the others need not wait until they miss it.
func (s *Store) HandOver(ctx context.Context) error {
	return s.settle(ctx, s.raft.LeadershipTransfer())
}

// start begins one step.
func (s *Store) start(ctx context.Context, st step) raft.Future {
	id, addr, limit := raft.ServerID(st.id), raft.ServerAddress(st.addr), timeLeft(ctx)
	switch st.verb {
	case "remove":
		return s.raft.RemoveServer(id, 0, limit)
	case "add":
		return s.raft.AddNonvoter(id, addr, 0, limit)
	case "promote":
		return s.raft.AddVoter(id, addr, 0, limit)
	case "demote":
		return s.raft.DemoteVoter(id, 0, limit)
	}
	return s.raft.LeadershipTransfer()
}
