package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"weft/internal/cluster/pki"
	"weft/internal/cnm"
)

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
