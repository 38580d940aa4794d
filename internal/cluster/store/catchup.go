package store

import "context"

// CatchUp returns when this manager, which must be the leader, knows of everything
// that was agreed before it became that: from then on it knows by itself. It costs an
// entry of the log once per term, so that anybody may cause it.
func (s *Store) CatchUp(ctx context.Context) error {
	s.catching.Lock()
	defer s.catching.Unlock()
	term := s.raft.CurrentTerm()
	if term == s.caughtUp {
		return nil
	}
	if err := s.Barrier(ctx); err != nil {
		return err
	}
	s.caughtUp = term
	return nil
}
