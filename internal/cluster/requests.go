package cluster

import (
	"net/netip"

	"weft/internal/cnm"
)

// The messages of the control port, by method. Those of weft-join come from
// strangers: what is in them is believed only with the token's secret.

// A joinRequest asks to become a member.
type joinRequest struct {
	Secret string // of the token
	CSR    []byte // DER: the key the certificate is for
	Node   Node   // what the node says of itself
}

// A joinResponse makes a member.
type joinResponse struct {
	Role  cnm.Role
	Chain []byte // PEM, the node's certificate first
	View  *View
}

// A renewRequest asks for a new certificate.
type renewRequest struct{ CSR []byte }

// A renewResponse holds it.
type renewResponse struct{ Chain, Roots []byte }

// A nodeRequest says what a node is now: its name, its addresses.
type nodeRequest struct{ Node Node }

// A watchRequest asks for views, now and whenever they change.
type watchRequest struct{}

// A networkRequest makes a network, or removes the one of its id.
type networkRequest struct{ Network cnm.Network }

// A Want asks for the addresses of an endpoint; addresses that are not valid are
// any.
type Want struct {
	Endpoint   string // id
	Network    string // id
	IPv4, IPv6 netip.Addr
}

// A leaseResponse holds what the endpoint got, with the subnet's length.
type leaseResponse struct{ IPv4, IPv6 netip.Prefix }

// A releaseRequest gives addresses back: those of the endpoints named or, with
// Keep, of all others that the node was given up to the version Before. With Keep
// and without Before it gives nothing back, and asks for a version to name.
type releaseRequest struct {
	Endpoints []string
	Keep      bool
	Before    uint64
}

// A releaseResponse holds a version behind all that was given before the request.
type releaseResponse struct{ Version uint64 }

// A swarmRequest changes what the swarm is, or makes something of it anew.
type swarmRequest struct {
	Version uint64
	Spec    cnm.SwarmSpec
	Rotate  cnm.SwarmRotate
}

// A specRequest changes what is said of a node.
type specRequest struct {
	ID      string
	Version uint64
	Spec    cnm.NodeSpec
}

// A removeRequest takes a node out of the swarm.
type removeRequest struct {
	ID    string
	Force bool
}

// A changed is the answer to a manager that had something changed: the version of
// the state that has it, for the one who asked to wait for.
type changed struct{ Version uint64 }

// None is the message without content.
type none struct{}
