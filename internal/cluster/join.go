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
	"weft/internal/cluster/store"
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

// Init makes a cluster of this node alone, its first manager. With ForceNewCluster
// the node is a manager already, and goes on with what it has, without the others.
func Init(ctx context.Context, c Config, o cnm.SwarmInit) (*Member, error) {
	if o.ForceNewCluster {
		return forceNew(ctx, c)
	}
	if err := vacant(c.Dir); err != nil {
		return nil, err
	}
	m, err := initiate(ctx, c, o)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(c.Dir))
	}
	return m, err
}

func initiate(ctx context.Context, c Config, o cnm.SwarmInit) (*Member, error) {
	f := memberFile{ID: newID(), Cluster: newID(), Role: cnm.Manager}
	now := c.now()
	root, err := pki.NewRoot(f.Cluster, now)
	if err != nil {
		return nil, err
	}
	key, csr, err := request()
	if err != nil {
		return nil, err
	}
	chain, err := root.Issue(csr, pki.Subject{Node: f.ID, Cluster: f.Cluster, Role: pki.Manager}, now, o.Spec.CertExpiry)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "%w", err)
	}
	id, err := pki.NewIdentity(key, chain, root.CertPEM())
	if err != nil {
		return nil, err
	}
	rootKey, err := root.KeyPEM()
	if err != nil {
		return nil, err
	}
	self := selfNode(f.ID, cnm.Manager, c)
	if self.Spec.Availability = o.Availability; o.Availability == "" {
		self.Spec.Availability = cnm.Active
	}
	first := store.InitCluster{
		Cluster: store.Cluster{
			ID: f.Cluster, Created: now, Updated: now, Spec: o.Spec, Pools: o.Pools, SubnetSize: o.SubnetSize, DataPathPort: dataPort(c),
			Roots: []store.Root{{Certificate: root.CertPEM(), Key: rootKey}}, GossipKeys: [][]byte{newGossipKey()},
			Secrets: store.Secrets{Worker: pki.NewSecret().String(), Manager: pki.NewSecret().String()},
			Epoch:   1, EpochSince: now,
		},
		Node: putNode(&self, record(id.Certificate(), pki.Manager, root.CertPEM(), now), now),
	}
	m, err := take(c, f, id, &View{Cluster: f.Cluster, GossipKeys: first.Cluster.GossipKeys})
	if err != nil {
		return nil, err
	}
	if m.manager, err = m.startManager(true); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.manager.applySoon(ctx, first); err != nil {
		m.Close()
		return nil, err
	}
	m.setView(m.manager.view())
	if err := m.begin(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func dataPort(c Config) uint16 {
	if len(c.DataPath) == 0 {
		return 0
	}
	return c.DataPath[0].Port()
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
	b, err := json.Marshal(f)
	if err == nil {
		err = errors.Join(id.Save(c.Dir), saveView(c.Dir, v), writeFile(c.memberPath(), b))
	}
	if err != nil {
		return nil, err
	}
	return newMember(c, f, id, v), nil
}

// Join makes this node a member: a worker or a manager, as the token says.
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
	var errs []error
	for _, at := range o.Remotes {
		m, err := joinAt(ctx, c, o, token, at)
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

// kept gives a joined error the kind of what it holds.
func kept(err error) error {
	for _, k := range []cnm.Kind{cnm.Invalid, cnm.Forbidden, cnm.Conflict} {
		if errors.Is(err, k) {
			return cnm.Errorf(k, "%w", err)
		}
	}
	return cnm.Errorf(cnm.Unavailable, "%w", err)
}

func joinAt(ctx context.Context, c Config, o cnm.SwarmJoin, token pki.Token, at netip.AddrPort) (*Member, error) {
	f := memberFile{ID: newID()}
	key, csr, err := request()
	if err != nil {
		return nil, err
	}
	conn, err := dialRPC(at, protoJoin, func() *tls.Config { return pki.JoinClient(token, c.now) })
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	self := selfNode(f.ID, cnm.Manager, c) // with a control address: the token says what it will be
	if self.Spec.Availability = o.Availability; o.Availability == "" {
		self.Spec.Availability = cnm.Active
	}
	// A manager has to listen before it is one: the others call it at once.
	resp, err := call[joinResponse](ctx, conn, "Join", &joinRequest{Secret: token.Secret.String(), CSR: csr, Node: self})
	if err != nil {
		return nil, err
	}
	if resp.View == nil {
		return nil, errors.New("the manager's answer holds no view")
	}
	f.Cluster, f.Role = resp.View.Cluster, resp.Role
	id, err := pki.NewIdentity(key, resp.Chain, resp.View.Roots)
	if err != nil {
		return nil, err
	}
	if !token.Matches(resp.View.Roots) {
		return nil, cnm.Errorf(cnm.Forbidden, "the manager answers with roots that are not the token's")
	}
	m, err := take(c, f, id, resp.View)
	if err != nil {
		return nil, err
	}
	return m, m.start(false)
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

// Open takes up the membership in c.Dir; the error is ErrNone if there is none. It
// waits for nobody.
func Open(_ context.Context, c Config) (*Member, error) {
	var f memberFile
	if err := readJSON(c.memberPath(), &f); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	} else if err != nil {
		return nil, err
	}
	v, err := loadView(c.Dir)
	if err != nil {
		return nil, err
	}
	id, err := pki.LoadIdentity(c.Dir)
	if err != nil {
		return nil, err
	}
	f.Role = cnm.Role(id.Subject().Role)
	if f.Role != cnm.Manager {
		if err := os.RemoveAll(c.raftDir()); err != nil {
			return nil, err
		}
	}
	m := newMember(c, f, id, v)
	if err := m.start(false); err != nil {
		return nil, err
	}
	m.wg.Go(m.introduce)
	return m, nil
}

// introduce tells the managers what this node is now, if that is another thing than
// they think.
func (m *Member) introduce() {
	for failures := 0; ; failures++ {
		self, known := m.self(), m.View().node(m.id)
		if known != nil && known.Hostname == self.Hostname && known.Gossip == self.Gossip && known.Control == self.Control && equalAddrs(known.DataPath, self.DataPath) {
			return
		}
		ctx, cancel := context.WithTimeout(m.ctx, 2*tryTime)
		_, err := ask(ctx, m, "Announce", &nodeRequest{self}, (*manager).announce)
		cancel()
		if err == nil || !m.pause(retryTime(failures)) {
			return
		}
	}
}

func equalAddrs(a, b []netip.AddrPort) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// forceNew makes the only voter of a manager that has lost the others.
func forceNew(ctx context.Context, c Config) (*Member, error) {
	var f memberFile
	err := readJSON(c.memberPath(), &f)
	if _, none := os.Stat(c.raftDir()); errors.Is(err, fs.ErrNotExist) || err == nil && none != nil {
		return nil, cnm.Errorf(cnm.Invalid, "--force-new-cluster is for managers: this node has no copy of a swarm's state")
	}
	if err != nil {
		return nil, err
	}
	if err := store.ForceNewCluster(c.store(f.ID)); err != nil {
		return nil, err
	}
	m, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	for m.manager != nil && !m.manager.leads() {
		_, changed := m.manager.store.Watch()
		if m.manager.leads() {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			m.Close()
			return nil, ctx.Err()
		}
	}
	return m, nil
}

// Leave makes this node a stranger again. A manager goes only by force.
func (m *Member) Leave(ctx context.Context, force bool) error {
	if m.manager != nil && !force {
		return cnm.Errorf(cnm.Unavailable, "You are attempting to leave the swarm on a node that is participating as a manager. Its loss %s. "+
			"Use \"--force\" to suppress this message.", m.lossHere())
	}
	ctx, cancel := context.WithTimeout(ctx, 2*tryTime)
	defer cancel()
	if _, err := ask(ctx, m, "RemoveNode", &removeRequest{ID: m.id, Force: true}, (*manager).removeNode); err != nil {
		m.log.Warn("the swarm was left without telling a manager", "error", err)
	}
	if err := m.gossip.Leave(time.Second); err != nil {
		m.log.Warn("the swarm was left without telling the other nodes", "error", err)
	}
	m.Close()
	return os.RemoveAll(m.cfg.Dir)
}

func (m *Member) lossHere() string {
	v := m.View()
	if n := v.node(m.id); n != nil {
		return lossOf(n, v.voters())
	}
	return "is not known to matter"
}
