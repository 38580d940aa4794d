package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/cnm"
	"weft/internal/discovery"
)

// A staticRecord is a set of DNS records that somebody wrote down, as the journal keeps
// it.
type staticRecord struct{ Static discovery.Static }

// staticKey names a set: one network, type and name have one.
func staticKey(network, kind, name string) string {
	if a, err := netip.ParseAddr(name); err == nil {
		name = a.String()
	}
	return network + " " + strings.ToUpper(kind) + " " + strings.ToLower(strings.TrimSuffix(name, "."))
}

// takeStatics makes the journal's records those of the table. Those of a network follow
// when the network is known.
func (s *names) takeStatics(records []staticRecord) {
	s.table.Update(func(tx *discovery.Tx) {
		for _, r := range records {
			s.statics[staticKey(r.Static.Network, r.Static.Type, r.Static.Name)] = r.Static
			if r.Static.Network == "" {
				tx.SetStatic(r.Static)
			}
		}
	})
}

// DNSAdd writes down records, for the clients of a network or, without one, of all this
// node's networks. They replace those of the same network, name and type. What is
// returned besides an error is what is to be known of them: who else has the name.
func (n *Node) DNSAdd(_ context.Context, s discovery.Static) (warnings []string, err error) {
	network, err := n.namedNetwork(s.Network)
	if err != nil {
		return nil, err
	}
	s.Network = network
	n.names.op.Lock()
	defer n.names.op.Unlock()
	key := staticKey(s.Network, s.Type, s.Name)
	before, had := n.names.statics[key]
	for _, c := range n.names.table.Update(func(tx *discovery.Tx) { err = tx.SetStatic(s) }) {
		warnings = append(warnings, c.String())
	}
	switch {
	case errors.Is(err, discovery.ErrInvalid):
		return nil, cnm.Errorf(cnm.Invalid, "%w", err)
	case errors.Is(err, discovery.ErrNoNetwork):
		return nil, cnm.Errorf(cnm.NotFound, "network %s has no names yet, or no more", s.Network)
	case err != nil:
		return nil, cnm.Errorf(cnm.Conflict, "%w", err)
	}
	if err := n.journal.putStatic(key, staticRecord{s}); err != nil {
		n.names.table.Update(func(tx *discovery.Tx) {
			if tx.RemoveStatic(s.Network, s.Name, s.Type); had {
				tx.SetStatic(before)
			}
		})
		return nil, err
	}
	n.names.statics[key] = s
	return warnings, nil
}

// DNSRemove takes back what was written down of a name, of one type or of all.
func (n *Node) DNSRemove(_ context.Context, network, name, kind string) error {
	id, err := n.namedNetwork(network)
	if err != nil {
		return err
	}
	n.names.op.Lock()
	defer n.names.op.Unlock()
	found := false
	for key, s := range n.names.statics {
		if key != staticKey(id, s.Type, name) || kind != "" && !strings.EqualFold(kind, s.Type) {
			continue
		}
		if err := n.dropStaticLocked(key, s); err != nil {
			return err
		}
		found = true
	}
	if !found {
		what := strings.TrimSpace("static record " + name + " " + strings.ToUpper(kind))
		if network == "" {
			return cnm.Errorf(cnm.NotFound, "no such %s of no network (weft dns ls --filter origin=static lists them all)", what)
		}
		return cnm.Errorf(cnm.NotFound, "no such %s on network %s", what, network)
	}
	return nil
}

// dropStaticLocked forgets a set. The caller holds names.op.
func (n *Node) dropStaticLocked(key string, s discovery.Static) error {
	if err := n.journal.dropStatic(key); err != nil {
		return err
	}
	delete(n.names.statics, key)
	n.names.table.Update(func(tx *discovery.Tx) { tx.RemoveStatic(s.Network, s.Name, s.Type) })
	return nil
}

// forgetStatics drops the records of a network that is no more.
func (n *Node) forgetStatics(network string) {
	n.names.op.Lock()
	defer n.names.op.Unlock()
	for key, s := range n.names.statics {
		if s.Network != network {
			continue
		}
		if err := n.dropStaticLocked(key, s); err != nil {
			n.log.Warn("a static record of a network that is no more", "name", s.Name, "error", err)
		}
	}
}

// namedNetwork returns the id of a network that has names; of an empty ref an empty one.
func (n *Node) namedNetwork(ref string) (id string, err error) {
	if ref == "" {
		return "", nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	nw, err := n.findNetworkLocked(ref)
	if err != nil {
		return "", err
	}
	if !hasNames(&nw.Network) {
		return "", cnm.Errorf(cnm.Invalid, "network %s has no names: nobody on it asks for any", nw.Name)
	}
	return nw.ID, nil
}

// DNSRecords lists the records of a network, or all.
func (n *Node) DNSRecords(ref string) ([]discovery.Record, error) {
	id, err := n.namedNetwork(ref)
	if err != nil {
		return nil, err
	}
	n.names.op.Lock()
	name := n.names.known[id]
	n.names.op.Unlock()
	var out []discovery.Record
	for r := range n.names.table.Records() {
		if id == "" || r.Network == name {
			out = append(out, r)
		}
	}
	return out, nil
}

// DNSQuery answers a question as a sandbox's own name server does; without one from the
// records of all networks, and nobody else is asked.
func (n *Node) DNSQuery(ctx context.Context, from, name, kind string) (discovery.Reply, error) {
	view, err := n.viewOf(from)
	if err != nil {
		return discovery.Reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	r, err := view.Query(ctx, name, kind)
	if errors.Is(err, discovery.ErrInvalid) {
		err = cnm.Errorf(cnm.Invalid, "%w", err)
	}
	return r, err
}

// queryTimeout is enough for all servers that are asked one after the other.
const queryTimeout = discovery.MaxServers*discovery.DefaultTimeout + time.Second

func (n *Node) viewOf(from string) (*discovery.View, error) {
	if from == "" {
		var on []discovery.Attachment
		n.names.op.Lock()
		for id, name := range n.names.known {
			on = append(on, discovery.Attachment{Network: id, Name: name})
		}
		n.names.op.Unlock()
		return n.names.table.NewView(discovery.ViewConfig{Networks: on}), nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := n.findBoxLocked(from)
	if err != nil {
		return nil, err
	}
	if b.names == nil {
		return nil, cnm.Errorf(cnm.Conflict, "%s has no name server of its own: it does not run, is on no network of the user's, has one on port 53 itself, or is a namespace made by somebody else", b.sb.Spec.Name)
	}
	return b.names.view, nil
}

// DNSStats returns what the name service has counted, by name, and which names several
// answer to.
func (n *Node) DNSStats() (counts map[string]uint64, conflicts []string) {
	counts = make(map[string]uint64)
	for c, v := range n.names.stats.All() {
		counts[c.String()] = v
	}
	for _, c := range n.names.table.Conflicts() {
		conflicts = append(conflicts, c.String())
	}
	slices.Sort(conflicts)
	return counts, conflicts
}
