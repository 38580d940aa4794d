package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// idDigits is the length of a node's or cluster's id, in base 36, as Docker's.
const idDigits = 25

// newID returns a random id.
func newID() string {
	most := new(big.Int).Exp(big.NewInt(36), big.NewInt(idDigits), nil)
	n, err := rand.Int(rand.Reader, most)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return fmt.Sprintf("%0*s", idDigits, n.Text(36))
}

// gossipKeyLen is that of a key of the gossip: AES-256.
const gossipKeyLen = 32

func newGossipKey() []byte {
	k := make([]byte, gossipKeyLen)
	rand.Read(k)
	return k
}

// vacant refuses a directory that a membership is in.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err == nil {
		err = cnm.Errorf(cnm.Conflict, "%s holds what an earlier membership left: \"weft swarm leave --force\" removes it", dir)
	}
	return err
}

// request makes a key and asks for a certificate of it.
func request() (key *ecdsa.PrivateKey, csr []byte, err error) {
	if key, err = pki.NewKey(); err == nil {
		csr, err = pki.CSR(key)
	}
	return key, csr, err
}

// take writes a member's directory and returns the member, with nothing started.
func take(c Config, f memberFile, id *pki.Identity, v *View) (*Member, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := c.save(f, id, v); err != nil {
		return nil, err
	}
	return newMember(c, f, id, v), nil
}

// save writes what is in a member's directory besides the store.
func (c *Config) save(f memberFile, id *pki.Identity, v *View) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return errors.Join(id.Save(c.Dir), saveView(c.Dir, v), writeFile(c.memberPath(), b))
}

// Join makes this node a member: a worker or a manager, as the token says. What
// fails leaves nothing behind, neither here nor with the managers.
func Join(ctx context.Context, c Config, o cnm.SwarmJoin) (*Member, error) {
	token, err := pki.ParseToken(o.Token)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "%w", err)
	}
	if len(o.Remotes) == 0 {
		return nil, cnm.Errorf(cnm.Invalid, "no manager's address was given")
	}
	if err := vacant(c.Dir); err != nil {
		return nil, err
	}
	if err := gossipPortFree(&c); err != nil {
		return nil, err
	}
	j := joining{c: c, token: token, id: newID()}
	if j.key, j.csr, err = request(); err != nil {
		return nil, err
	}
	j.self = selfNode(j.id, cnm.Manager, c) // with a control address: the token says what it will be
	if j.self.Spec.Availability = o.Availability; o.Availability == "" {
		j.self.Spec.Availability = cnm.Active
	}
	var errs []error
	for _, at := range o.Remotes {
		m, err := j.at(ctx, at)
		if err == nil {
			return m, nil
		}
		errs = append(errs, fmt.Errorf("manager %s: %w", at, err), os.RemoveAll(c.Dir))
		var away *unreachable
		if !errors.As(err, &away) {
			break // it answered
		}
	}
	return nil, kept(errors.Join(errs...))
}

// gossipPortFree refuses a port of the gossip that cannot be listened on, before a
// manager takes in a node that then cannot be one.
func gossipPortFree(c *Config) error {
	if err := c.over().free(c.bind(c.GossipPort)); err != nil {
		return cnm.Errorf(cnm.Conflict, "the gossip's port cannot be listened on: %w: stop who has it, or choose another with --gossip-port", err)
	}
	return nil
}

// kept gives a joined error the kind of what it holds.
func kept(err error) error {
	for _, k := range []cnm.Kind{cnm.Invalid, cnm.Forbidden, cnm.Conflict} {
		if errors.Is(err, k) {
			return cnm.Errorf(k, "%w", err)
		}
	}
	return cnm.Errorf(cnm.Unavailable, "%w", err)
}

// A joining is what a node brings to each manager that it asks: the same, so that one
// whose answer was lost does not become two members.
type joining struct {
	c     Config
	token pki.Token
	id    string
	key   *ecdsa.PrivateKey
	csr   []byte
	self  Node
}

// at joins by one manager.
func (j *joining) at(ctx context.Context, at netip.AddrPort) (*Member, error) {
	conn, err := dialRPC(j.c.over(), at, protoJoin, func() *tls.Config { return pki.JoinClient(j.token, j.c.now) })
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	resp, err := call[joinResponse](ctx, conn, "Join", &joinRequest{Secret: j.token.Secret.String(), CSR: j.csr, Node: j.self})
	if err != nil {
		return nil, err
	}
	if resp.View == nil {
		return nil, errors.New("the manager's answer holds no view")
	}
	id, err := pki.NewIdentity(j.key, resp.Chain, resp.View.Roots)
	if err != nil {
		return nil, err
	}
	if !j.token.Matches(resp.View.Roots) {
		return nil, cnm.Errorf(cnm.Forbidden, "the manager answers with roots that are not the token's")
	}
	m, err := j.begin(resp, id)
	if err != nil {
		j.withdraw(ctx, at, id)
		return nil, err
	}
	return m, nil
}

// begin makes a member of what the manager answered.
func (j *joining) begin(resp *joinResponse, id *pki.Identity) (*Member, error) {
	if err := id.Valid(j.c.now()); err != nil {
		return nil, err
	}
	m, err := take(j.c, memberFile{ID: j.id, Cluster: resp.View.Cluster, Role: resp.Role}, id, resp.View)
	if err != nil {
		return nil, err
	}
	return m, m.start(false)
}

// withdraw tells the manager that has taken the node in that it does not come: a
// manager that never was would count among those who must agree.
func (j *joining) withdraw(ctx context.Context, at netip.AddrPort, id *pki.Identity) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*tryTime) // who asked may have gone
	defer cancel()
	// This node's clock may be what is wrong.
	issued := id.Certificate().NotBefore.Add(time.Hour)
	creds := pki.Credentials{Identity: func() *pki.Identity { return id }, Now: func() time.Time { return issued }}
	conn, err := dialRPC(j.c.over(), at, protoRPC, func() *tls.Config { return creds.Client(pki.Peer{Roles: []pki.Role{pki.Manager}}) })
	if err == nil {
		_, err = call[none](ctx, conn, "RemoveNode", &removeRequest{ID: j.id, Force: true})
		conn.Close()
	}
	if err != nil {
		j.c.Log.Warn("the swarm still lists this node, which did not become a member: \"weft node rm --force\" on a manager removes it", "node", j.id, "error", err)
	}
}

// start starts a member that is written down.
func (m *Member) start(first bool) (err error) {
	if m.role == cnm.Manager {
		m.manager, err = m.startManager(first)
	}
	if err == nil {
		err = m.begin()
	}
	if err != nil {
		m.Close()
	}
	return err
}
