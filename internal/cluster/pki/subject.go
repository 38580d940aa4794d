package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
)

// A Role is what a certificate lets its node do.
type Role string

// The roles.
const (
	Worker  Role = "worker"
	Manager Role = "manager"
)

// rolePrefix stands before a role in a certificate's organizational unit.
const rolePrefix = "swarm-"

// A Subject is who a certificate is for.
type Subject struct {
	Node    string
	Cluster string
	Role    Role
}

// maxName is the longest name of a node or cluster in a certificate (RFC 5280,
// appendix A.1, ub-common-name).
const maxName = 64

// check refuses what cannot be put into a certificate and found there again.
func (s Subject) check() error {
	for _, n := range []struct{ what, name string }{{"node", s.Node}, {"cluster", s.Cluster}} {
		if n.name == "" || len(n.name) > maxName || strings.IndexFunc(n.name, notInName) >= 0 {
			return fmt.Errorf("%s id %q: 1 to %d letters, digits, dots and dashes expected", n.what, n.name, maxName)
		}
	}
	if s.Role != Worker && s.Role != Manager {
		return fmt.Errorf("role %q: %s or %s expected", s.Role, Worker, Manager)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}

// name returns the subject as a certificate has it.
func (s Subject) name() pkix.Name {
	return pkix.Name{
		CommonName: s.Node, Organization: []string{s.Cluster}, OrganizationalUnit: []string{rolePrefix + string(s.Role)},
	}
}

// subjectOf returns whom a certificate is for. One that says two things at once is
// refused.
func subjectOf(c *x509.Certificate) (Subject, error) {
	n := c.Subject
	if c.IsCA || len(n.Organization) != 1 || len(n.OrganizationalUnit) != 1 {
		return Subject{}, fmt.Errorf("%w: %q is not the certificate of a node", ErrForeign, n)
	}
	role, ok := strings.CutPrefix(n.OrganizationalUnit[0], rolePrefix)
	s := Subject{Node: n.CommonName, Cluster: n.Organization[0], Role: Role(role)}
	if err := s.check(); !ok || err != nil {
		return Subject{}, fmt.Errorf("%w: %q is not the certificate of a node", ErrForeign, n)
	}
	return s, nil
}
