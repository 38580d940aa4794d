package api

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/cnm"
)

// A swarming is a memory that can be the first manager of a swarm: a model of
// the rules that the API depends on.
type swarming struct {
	*memory
	lock   sync.Mutex
	info   cnm.SwarmInfo
	swarm  cnm.Swarm
	nodes  []cnm.SwarmNode
	key    string
	serial int
	breaks bool // a backup breaks off

	inited  cnm.SwarmInit
	joined  cnm.SwarmJoin
	rotated cnm.SwarmRotate
}

// told is what the backend was asked for last, and what it has become.
type told struct {
	inited  cnm.SwarmInit
	rotated cnm.SwarmRotate
	swarm   cnm.Swarm
}

// told copies it: who asks through a socket shares no order with the server.
func (b *swarming) told() told {
	b.lock.Lock()
	defer b.lock.Unlock()
	return told{b.inited, b.rotated, b.swarm}
}

// lockUp makes the node a manager that is locked.
func (b *swarming) lockUp(key string) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.key, b.info.State, b.info.Manager = key, "locked", false
}

const (
	selfID   = "0selfselfselfselfselfself"
	standby  = "1standbystandbystandbysta"
	worker   = "2workerworkerworkerworker"
	ownFront = "127.0.0.2:2377"
)

func newSwarming() *swarming {
	control := netip.MustParseAddrPort(ownFront)
	return &swarming{memory: newMemory(), info: cnm.SwarmInfo{
		State: "inactive", Addr: control.Addr(), Control: control, DataPath: []netip.AddrPort{netip.AddrPortFrom(control.Addr(), 4789)},
	}}
}

// rootPEM is one of several root certificates, the same in every run.
func rootPEM(t *testing.T, which byte) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), which-1))
	c := &x509.Certificate{SerialNumber: big.NewInt(int64(which)), Subject: pkix.Name{CommonName: "swarm-ca"}, NotAfter: time.Unix(1800000000, 0), IsCA: true}
	der, err := x509.CreateCertificate(nil, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// inSwarm is a manager with a standby that is away and a worker beside it.
func inSwarm(t *testing.T) *swarming {
	t.Helper()
	b := newSwarming()
	if _, err := b.SwarmInit(context.Background(), cnm.SwarmInit{}); err != nil {
		t.Fatal(err)
	}
	b.swarm.RootPEM = rootPEM(t, 1)
	at := time.Unix(1700000000, 0).UTC()
	b.nodes[0].Message = "losing it stops new allocations"
	b.nodes = append(b.nodes,
		cnm.SwarmNode{
			ID: standby, Version: 12, Created: at, Updated: at, Hostname: "host2", Addr: netip.MustParseAddr("127.0.0.3"),
			Control: netip.MustParseAddrPort("127.0.0.3:2377"), DataPath: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.3:4789")},
			State: cnm.NodeDown, Message: "no heartbeat for 20s; losing it stops nothing", Expires: at.Add(time.Hour),
			Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: cnm.Active},
		},
		cnm.SwarmNode{
			ID: worker, Version: 13, Created: at, Updated: at, Hostname: "lab3", Addr: netip.MustParseAddr("127.0.0.4"), State: cnm.NodeReady,
			Spec: cnm.NodeSpec{Name: "three", Role: cnm.Worker, Availability: cnm.Drain, Labels: map[string]string{"rack": "a", "ssd": ""}},
		})
	b.info.Nodes, b.info.Managers = 3, 2
	return b
}

func (b *swarming) managing() error {
	switch {
	case b.info.State == "locked":
		return cnm.Errorf(cnm.Unavailable, "Swarm is encrypted and needs to be unlocked before it can be used.")
	case !b.info.Manager:
		return errNoManager()
	}
	return nil
}

func (b *swarming) SwarmInfo() cnm.SwarmInfo {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.info
}

func (b *swarming) SwarmInit(_ context.Context, i cnm.SwarmInit) (string, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.info.NodeID != "" {
		return "", cnm.Errorf(cnm.Unavailable, "This node is already part of a swarm.")
	}
	at := time.Unix(1700000000, 0).UTC()
	b.inited = i
	b.info.State, b.info.NodeID, b.info.Cluster, b.info.Manager, b.info.Managers, b.info.Nodes = "active", selfID, "cluster", true, 1, 1
	b.info.Remotes = []netip.AddrPort{b.info.Control}
	b.swarm = cnm.Swarm{
		ID: "cluster", Version: 10, Created: at, Updated: at, Spec: i.Spec, Pools: i.Pools, SubnetSize: 24, DataPathPort: 4789,
		WorkerToken: "SWMTKN-1-root-worker0", ManagerToken: "SWMTKN-1-root-manager0",
	}
	if b.swarm.Spec.CertExpiry == 0 {
		b.swarm.Spec.CertExpiry = 90 * 24 * time.Hour
	}
	if i.Spec.AutoLock {
		b.key = "SWMKEY-1-0"
	}
	b.nodes = []cnm.SwarmNode{{
		ID: selfID, Version: 11, Created: at, Updated: at, Hostname: "host1", Addr: b.info.Addr, Control: b.info.Control, DataPath: b.info.DataPath,
		State: cnm.NodeReady, Self: true, Leader: true, Voter: true, Reaches: true, Expires: at.Add(time.Hour),
		Spec: cnm.NodeSpec{Role: cnm.Manager, Availability: cnm.Active},
	}}
	return selfID, nil
}

func (b *swarming) SwarmJoin(_ context.Context, j cnm.SwarmJoin) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.joined = j
	b.info.State, b.info.NodeID, b.info.Remotes, b.info.Manager = "active", worker, j.Remotes, strings.Contains(j.Token, "manager")
	return nil
}

func (b *swarming) SwarmLeave(_ context.Context, force bool) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	switch {
	case b.info.NodeID == "":
		return noSwarm{}.SwarmLeave(context.Background(), force)
	case b.info.Manager && !force:
		return cnm.Errorf(cnm.Unavailable, "You are attempting to leave the swarm on a node that is participating as a manager.")
	}
	b.info = newSwarming().info
	return nil
}

func (b *swarming) Swarm(context.Context) (cnm.Swarm, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.swarm, b.managing()
}

func (b *swarming) SwarmUpdate(_ context.Context, version uint64, spec cnm.SwarmSpec, rotate cnm.SwarmRotate) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	if version != b.swarm.Version {
		return cnm.Errorf(cnm.Invalid, "update out of sequence")
	}
	b.serial++
	b.swarm.Version += 10
	b.swarm.Spec, b.rotated = spec, rotate
	if rotate.WorkerToken {
		b.swarm.WorkerToken = fmt.Sprint("SWMTKN-1-root-worker", b.serial)
	}
	if rotate.ManagerToken {
		b.swarm.ManagerToken = fmt.Sprint("SWMTKN-1-root-manager", b.serial)
	}
	if rotate.UnlockKey || spec.AutoLock && b.key == "" {
		b.key = fmt.Sprint("SWMKEY-1-", b.serial)
	}
	if !spec.AutoLock {
		b.key = ""
	}
	return nil
}

func (b *swarming) SwarmUnlockKey(context.Context) (string, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.key, b.managing()
}

func (b *swarming) SwarmUnlock(_ context.Context, key string) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	switch {
	case b.info.State != "locked":
		return cnm.Errorf(cnm.Conflict, "swarm is not locked")
	case key != b.key:
		return cnm.Errorf(cnm.Invalid, "swarm could not be unlocked: invalid key provided")
	}
	b.info.State, b.info.Manager = "active", true
	return nil
}

// backupText is this model's backup.
const backupText = "all of the swarm, and the end"

func (b *swarming) SwarmBackup(_ context.Context, w io.Writer) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	if err := b.managing(); err != nil {
		return err
	}
	_, err := io.WriteString(w, backupText[:9])
	if err == nil && b.breaks {
		err = errors.New("it broke")
	}
	if err == nil {
		_, err = io.WriteString(w, backupText[9:])
	}
	return err
}

func (b *swarming) SwarmRestore(ctx context.Context, backup io.Reader) (string, error) {
	text, err := io.ReadAll(backup)
	if err != nil || string(text) != backupText {
		return "", cnm.Errorf(cnm.Invalid, "the backup cannot be used: %d bytes, %v", len(text), err)
	}
	return b.SwarmInit(ctx, cnm.SwarmInit{})
}

func (b *swarming) SwarmNodes(context.Context) ([]cnm.SwarmNode, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return slices.Clone(b.nodes), b.managing()
}

func (b *swarming) find(ref string) (int, error) {
	if err := b.managing(); err != nil {
		return 0, err
	}
	for i, n := range b.nodes {
		if n.Hostname == ref || strings.HasPrefix(n.ID, ref) || n.Self && ref == "self" {
			return i, nil
		}
	}
	return 0, cnm.Errorf(cnm.NotFound, "node %s not found", ref)
}

func (b *swarming) SwarmNode(_ context.Context, ref string) (cnm.SwarmNode, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	i, err := b.find(ref)
	if err != nil {
		return cnm.SwarmNode{}, err
	}
	n := b.nodes[i]
	n.Spec.Labels = maps.Clone(n.Spec.Labels)
	return n, nil
}

func (b *swarming) SwarmNodeUpdate(_ context.Context, id string, version uint64, spec cnm.NodeSpec) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	i, err := b.find(id)
	if err != nil {
		return err
	}
	n := &b.nodes[i]
	switch {
	case version != n.Version:
		return cnm.Errorf(cnm.Invalid, "update out of sequence")
	case n.Leader && spec.Role == cnm.Worker:
		return cnm.Errorf(cnm.Conflict, "attempting to demote the last manager of the swarm")
	}
	n.Version += 10
	n.Spec = spec
	if n.Control = (netip.AddrPort{}); spec.Role == cnm.Manager {
		n.Control, n.Reaches = netip.AddrPortFrom(n.Addr, 2377), true
	}
	return nil
}

func (b *swarming) SwarmNodeRemove(_ context.Context, ref string, force bool) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	i, err := b.find(ref)
	if err != nil {
		return err
	}
	if n := b.nodes[i]; n.State == cnm.NodeReady && !force {
		return cnm.Errorf(cnm.Conflict, "node %s is not down and can't be removed", n.ID)
	}
	b.nodes = slices.Delete(b.nodes, i, i+1)
	return nil
}
