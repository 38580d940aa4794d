package cluster

import (
	"bytes"
	"context"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// Theory of operation: certificates
//
// A member renews its certificate at half of its life, and at once when its role or
// the roots are others than the certificate's (roles.go). Until it has succeeded it tries
// again, less and less often, and the old one serves. Connections that stand go on
// with the certificate they began with.
//
// A new certificate serves though it cannot be written down: the managers know of it,
// and believe the old one no more when the root that signed it has ended. Writing is
// tried again until there is space.

// renewCheck is how often a member looks whether it is time.
const renewCheck = 30 * time.Second

// renewer is the goroutine that renews.
func (m *Member) renewer() {
	failures := 0
	for wait := time.Second; ; wait = renewCheck {
		if failures > 0 {
			wait = min(wait, retryTime(failures))
		}
		t := time.NewTimer(wait)
		select {
		case <-m.ctx.Done():
			t.Stop()
			return
		case <-m.toRenew:
		case <-t.C:
		}
		t.Stop()
		if err := m.renewIfDue(); err != nil {
			if failures++; failures == 1 {
				m.log.Warn("the certificate is not renewed yet, or not written down", "error", err, "ends", m.identity.Load().Certificate().NotAfter)
			}
			continue
		}
		failures = 0
		m.settleRole()
	}
}

// renewIfDue renews if it is time, and writes down what is not.
func (m *Member) renewIfDue() error {
	if m.renewalDue(m.cfg.now()) {
		return m.renewNow()
	}
	if !m.unsaved.Load() {
		return nil
	}
	return m.saveIdentity()
}

// saveIdentity writes the certificate down that serves.
func (m *Member) saveIdentity() error {
	err := m.identity.Load().Save(m.cfg.Dir)
	m.unsaved.Store(err != nil)
	return err
}

func (m *Member) renewalDue(now time.Time) bool {
	id, v := m.identity.Load(), m.View()
	n := v.node(m.id)
	if n == nil {
		return false
	}
	// Who still votes must be able to hand over as a manager.
	role := cnm.Role(id.Subject().Role) != n.Spec.Role && !(n.Voter && n.Spec.Role == cnm.Worker)
	return role || !now.Before(id.RenewAt()) || !bytes.Equal(id.RootsPEM(), v.Roots)
}

// renewNow asks for a certificate of a fresh key.
func (m *Member) renewNow() error {
	key, csr, err := request()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(m.ctx, 2*tryTime)
	defer cancel()
	r, err := ask(ctx, m, "Renew", &renewRequest{csr}, (*manager).renew)
	if err != nil {
		return err
	}
	id, err := pki.NewIdentity(key, r.Chain, r.Roots)
	if err != nil {
		return err
	}
	if err := id.Valid(m.cfg.now()); err != nil {
		return err // the one there is still serves
	}
	m.identity.Store(id)
	m.links.reset()
	m.log.Info("the certificate is renewed", "ends", id.Certificate().NotAfter)
	return m.saveIdentity()
}
