package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

// Theory of operation: a membership on disk
//
// identity.pem is what makes the member: without it, or with a damaged one, there is
// an error, and never another identity. member.json repeats what is in it, and is
// written again when it is lost; one that says another thing is not this node's. The
// view is a worker's only way to the managers, and so an error; a manager makes it
// anew of its store.

// Open takes up the membership in c.Dir; the error is ErrNone if there is none. It
// waits for nobody, but for the other managers where a manager has lost its view and
// its store has no snapshot: viewTime at most.
func Open(ctx context.Context, c Config) (*Member, error) {
	f, id, err := membership(&c)
	if errors.Is(err, ErrNone) {
		return nil, err
	}
	var v *View
	if err == nil {
		v, err = lastView(&c, f)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; or give %s up by \"weft swarm leave --force\", and join the swarm again", err, c.Dir)
	}
	if f.Role != cnm.Manager {
		if err := os.RemoveAll(c.raftDir()); err != nil {
			return nil, err
		}
	}
	m := newMember(c, f, id, v)
	if err := m.resume(ctx); err != nil {
		return nil, err
	}
	m.wg.Go(m.introduce)
	return m, nil
}

// membership reads who this node is.
func membership(c *Config) (memberFile, *pki.Identity, error) {
	var said memberFile
	path := c.memberPath()
	lost := readJSON(path, &said)
	id, err := pki.LoadIdentity(c.Dir)
	switch none := errors.Is(err, fs.ErrNotExist); {
	case none && errors.Is(lost, fs.ErrNotExist):
		return said, nil, ErrNone
	case none:
		return said, nil, fmt.Errorf("%w: without its key this node cannot be the member it was: restore it from a backup", err)
	case err != nil:
		return said, nil, err
	}
	s := id.Subject()
	f := memberFile{ID: s.Node, Cluster: s.Cluster, Role: cnm.Role(s.Role)}
	switch {
	case lost != nil:
		c.Log.Warn("a file of the membership is written again: all of it is in the node's certificate", "file", path, "error", lost)
		b, err := json.Marshal(f)
		if err == nil {
			err = writeFile(path, b)
		}
		return f, id, err
	case said.ID != f.ID || said.Cluster != f.Cluster:
		return f, nil, fmt.Errorf("%s is of node %s in swarm %s, the certificate beside it of node %s in swarm %s: restore the one that is wrong from a backup",
			path, said.ID, said.Cluster, f.ID, f.Cluster)
	}
	return f, id, nil
}

// lastView reads the view that was kept. A manager's may be missing: then it is one
// that says nothing.
func lastView(c *Config, f memberFile) (*View, error) {
	litter, _ := filepath.Glob(filepath.Join(c.Dir, "*.json.*")) // of writes that were cut short
	for _, path := range litter {
		os.Remove(path)
	}
	v, err := loadView(c.Dir)
	if err == nil && v.Cluster != f.Cluster {
		err = fmt.Errorf("%s is of swarm %s, this node of swarm %s", filepath.Join(c.Dir, viewFile), v.Cluster, f.Cluster)
	}
	if err == nil || f.Role != cnm.Manager {
		return v, err
	}
	c.Log.Warn("the last view cannot be used: it is made of the store", "error", err)
	return &View{Cluster: f.Cluster}, nil
}

// viewTime is how long a manager without a view waits for its store to say something.
const viewTime = 30 * time.Second

// resume starts the member, and makes its view first if it has none.
func (m *Member) resume(ctx context.Context) error {
	if len(m.View().GossipKeys) > 0 {
		return m.start(false)
	}
	ctx, cancel := context.WithTimeout(ctx, viewTime)
	defer cancel()
	var err error
	if m.manager, err = m.startManager(false); err != nil {
		m.Close()
		return err
	}
	for {
		_, changed := m.manager.store.Watch()
		if v := m.manager.view(); v != nil {
			m.setView(v)
			break
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond): // leadership comes without a change
		case <-ctx.Done():
			m.Close()
			return fmt.Errorf("%s is lost, and the managers do not agree on what it should say: start the other managers, or restore it from a backup: %w", filepath.Join(m.cfg.Dir, viewFile), ctx.Err())
		}
	}
	if err = m.begin(); err != nil {
		m.Close()
	}
	return err
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
