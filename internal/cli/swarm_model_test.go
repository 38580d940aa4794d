//go:build linux

package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/api"
	"weft/internal/cnm"
	"weft/internal/node"
)

// A manager is a daemon as the swarm commands see it: a model of the rules that
// they depend on, behind the real API.
type manager struct {
	api.Backend // of which Info alone is asked for here
	sock        string

	mu     sync.Mutex
	info   cnm.SwarmInfo
	swarm  cnm.Swarm
	nodes  []cnm.SwarmNode
	key    string // that opens it while it is locked
	backup string

	inited  cnm.SwarmInit
	joined  cnm.SwarmJoin
	rotated []cnm.SwarmRotate
	typed   string // the key that it was unlocked with

	exported []string // networks whose keys were asked for
}

const (
	oneID   = "1oneoneoneoneoneoneoneone"
	twoID   = "2twotwotwotwotwotwotwotwo"
	threeID = "3threethreethreethreethre"
)

// root is a root certificate, another one with each call.
func root(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "swarm-ca"}, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// stranger serves a node in no swarm.
func stranger(t *testing.T) *manager {
	t.Helper()
	at := netip.MustParseAddrPort("127.0.0.1:2377")
	m := &manager{sock: "unix://" + filepath.Join(t.TempDir(), "s"), backup: "the whole swarm"}
	m.info = cnm.SwarmInfo{State: "inactive", Addr: at.Addr(), Control: at, DataPath: []netip.AddrPort{netip.AddrPortFrom(at.Addr(), 4789)}}
	m.swarm = cnm.Swarm{
		ID: "cluster", Version: 1, RootPEM: root(t), WorkerToken: "SWMTKN-worker", ManagerToken: "SWMTKN-manager", SubnetSize: 24, DataPathPort: 4789,
		Pools: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Spec: cnm.SwarmSpec{CertExpiry: 90 * 24 * time.Hour},
	}
	l, err := api.Listen(m.sock)
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(m, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return m
}

// leads serves the first manager of three nodes.
func leads(t *testing.T) *manager {
	t.Helper()
	m := stranger(t)
	m.found()
	m.nodes = append(m.nodes,
		cnm.SwarmNode{
			ID: twoID, Version: 2, Hostname: "two", Addr: netip.MustParseAddr("127.0.0.2"), Control: netip.MustParseAddrPort("127.0.0.2:2377"),
			State: cnm.NodeDown, Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: cnm.Active}, Message: "stops nothing: the voters go on",
		},
		cnm.SwarmNode{
			ID: threeID, Version: 3, Hostname: "three", Addr: netip.MustParseAddr("127.0.0.3"), State: cnm.NodeReady,
			Spec: cnm.NodeSpec{Role: cnm.Worker, Availability: cnm.Drain, Labels: map[string]string{"rack": "a", "ssd": ""}}, Message: "stops nothing elsewhere",
		})
	m.info.Nodes, m.info.Managers = 3, 2
	m.info.Remotes = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.2:2377"), m.info.Control}
	return m
}

// found makes a swarm of one.
func (m *manager) found() {
	m.info.State, m.info.NodeID, m.info.Manager, m.info.Nodes, m.info.Managers = "active", oneID, true, 1, 1
	m.nodes = []cnm.SwarmNode{{
		ID: oneID, Version: 1, Created: time.Unix(1700000000, 0), Hostname: "one", Addr: m.info.Addr, Control: m.info.Control, State: cnm.NodeReady,
		Self: true, Leader: true, Voter: true, Reaches: true, Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: cnm.Active},
	}}
}

// weft runs a command of the daemon's user.
func (m *manager) weft(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return weft(t, append([]string{"-H", m.sock}, args...)...)
}

// must runs a command that has to succeed, and returns its output.
func (m *manager) must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := m.weft(t, args...)
	if code != 0 {
		t.Fatalf("weft %s: exit code %d, %s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// fails runs a command that has to fail with a code and a word on stderr.
func (m *manager) fails(t *testing.T, want int, word string, args ...string) {
	t.Helper()
	if code, out, errs := m.weft(t, args...); code != want || !strings.Contains(errs, word) {
		t.Errorf("weft %s: exit code %d, expected %d; stdout %q, stderr %q, expected %q", strings.Join(args, " "), code, want, out, errs, word)
	}
}

// with looks at the model, or changes it, between two commands.
func (m *manager) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *manager) Info() node.Info { return node.Info{Version: "0", OS: "test"} }

func (m *manager) SwarmInfo() cnm.SwarmInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info
}

// managing is locked.
func (m *manager) managing() error {
	if m.info.Manager {
		return nil
	}
	return cnm.Errorf(cnm.Unavailable, "This node is not a swarm manager.")
}

func (m *manager) SwarmInit(_ context.Context, i cnm.SwarmInit) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.info.NodeID != "" && !i.ForceNewCluster {
		return "", cnm.Errorf(cnm.Unavailable, "This node is already part of a swarm.")
	}
	m.inited = i
	if !i.ForceNewCluster {
		m.found()
	}
	if m.swarm.Spec.AutoLock = i.Spec.AutoLock; i.Spec.AutoLock {
		m.key = "SWMKEY-1-first"
	}
	return oneID, nil
}

func (m *manager) SwarmJoin(_ context.Context, j cnm.SwarmJoin) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined = j
	m.info.State, m.info.NodeID, m.info.Manager = "active", threeID, strings.Contains(j.Token, "manager")
	return nil
}

func (m *manager) SwarmLeave(_ context.Context, force bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.info.Manager && !force {
		return cnm.Errorf(cnm.Unavailable, "a manager goes by --force")
	}
	m.info.State, m.info.NodeID, m.info.Manager = "inactive", "", false
	return nil
}

func (m *manager) Swarm(context.Context) (cnm.Swarm, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swarm, m.managing()
}

func (m *manager) SwarmUpdate(_ context.Context, version uint64, spec cnm.SwarmSpec, rotate cnm.SwarmRotate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if version != m.swarm.Version {
		return cnm.Errorf(cnm.Invalid, "update out of sequence")
	}
	m.swarm.Version++
	m.swarm.Spec = spec
	m.rotated = append(m.rotated, rotate)
	if m.key = ""; spec.AutoLock {
		m.key = "SWMKEY-1-later"
	}
	if rotate.WorkerToken {
		m.swarm.WorkerToken += "-anew"
	}
	return nil
}

func (m *manager) SwarmUnlockKey(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.key, m.managing()
}

func (m *manager) SwarmUnlock(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.typed = key; key != m.key {
		return cnm.Errorf(cnm.Invalid, "swarm could not be unlocked: invalid key provided")
	}
	m.info.State, m.info.Manager = "active", true
	return nil
}

func (m *manager) SwarmBackup(_ context.Context, w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.managing(); err != nil {
		return err
	}
	_, err := io.WriteString(w, m.backup)
	return err
}

func (m *manager) SwarmRestore(_ context.Context, backup io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(backup, 100)) // a large one is refused early
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil || !bytes.Equal(b, []byte(m.backup)):
		return "", cnm.Errorf(cnm.Invalid, "the backup cannot be used: it is none of this model's")
	case m.info.NodeID != "":
		return "", cnm.Errorf(cnm.Unavailable, "This node is already part of a swarm.")
	}
	m.found()
	m.nodes = append(m.nodes, cnm.SwarmNode{ID: twoID, Hostname: "two", State: cnm.NodeUnknown, Spec: cnm.NodeSpec{Role: cnm.Worker}})
	return oneID, nil
}

func (m *manager) SwarmNodes(context.Context) ([]cnm.SwarmNode, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.nodes), m.managing()
}

func (m *manager) SwarmNode(ctx context.Context, ref string) (cnm.SwarmNode, error) {
	nodes, err := m.SwarmNodes(ctx)
	for _, n := range nodes {
		if err == nil && (n.ID == ref || n.Hostname == ref || ref == "self" && n.Self) {
			return n, nil
		}
	}
	if err == nil {
		err = cnm.Errorf(cnm.NotFound, "node %s not found", ref)
	}
	return cnm.SwarmNode{}, err
}

func (m *manager) SwarmNodeUpdate(_ context.Context, id string, _ uint64, spec cnm.NodeSpec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.nodes {
		if m.nodes[i].ID == id {
			m.nodes[i].Spec = spec
		}
	}
	return nil
}

func (m *manager) SwarmNodeRemove(_ context.Context, ref string, force bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, n := range m.nodes {
		switch {
		case n.Hostname != ref && n.ID != ref:
		case n.State == cnm.NodeReady && !force:
			return cnm.Errorf(cnm.Conflict, "node %s is not down", ref)
		default:
			m.nodes = slices.Delete(m.nodes, i, i+1)
			return nil
		}
	}
	return cnm.Errorf(cnm.NotFound, "node %s not found", ref)
}
