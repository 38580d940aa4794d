package cluster

import "weft/internal/cnm"

// Theory of operation: promotion and demotion
//
// The managers say by a view what a node is to be. The node asks for a certificate
// that says so (renew.go), and when it has it calls Config.Restart, once: whoever
// owns the member closes it and opens it again. Open takes the role from the
// certificate. A new manager tells where it listens, and then the leader takes it
// in. Who is to be none any more goes on until its vote has been taken: the others
// may need it for that. Then its copy goes.

// settleRole has the member opened again when it has a certificate for another role
// than the one it began in.
func (m *Member) settleRole() {
	role := cnm.Role(m.identity.Load().Subject().Role)
	n := m.View().node(m.id)
	if n == nil || role == m.role || role != n.Spec.Role || m.cfg.Restart == nil || n.Voter && role == cnm.Worker {
		return
	}
	m.restart.Do(func() {
		m.log.Info("this node's role in the swarm changes", "from", m.role, "to", role)
		m.cfg.Restart()
	})
}
