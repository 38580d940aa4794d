package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"weft/internal/cnm"
)

// Theory of operation: views
//
// A View is the managers' state without what is theirs alone (the root's key, the
// tokens). A manager makes it from its copy of the store; a worker is sent one
// whenever it changes, and keeps the last on disk, so that it starts, gossips and
// forwards without them. Views are immutable and replaced whole.

// A View is what every member knows of the cluster by the managers' word.
type View struct {
	Version    uint64 // rises with every change
	Cluster    string
	Created    time.Time
	Updated    time.Time
	Roots      []byte   // PEM
	GossipKeys [][]byte // the first seals
	// Epoch is that of the keys of encrypted networks; it rises, by itself KeyRotation
	// after EpochSince.
	Epoch        uint64
	EpochSince   time.Time
	KeyRotation  time.Duration
	DataPathPort uint16
	Nodes        []Node // by id
	Networks     []cnm.Network
	Removed      []string // nodes that were managers and are gone, sorted
}

// A Node is a member as the managers know it.
type Node struct {
	ID       string
	Version  uint64 // when it last changed
	Created  time.Time
	Updated  time.Time
	Spec     cnm.NodeSpec
	Hostname string
	Control  netip.AddrPort // of managers
	Gossip   netip.AddrPort
	DataPath []netip.AddrPort // one per family
	Voter    bool
	Expires  time.Time // of its certificate
	OldRoot  bool      // signed by a root that is being replaced
}

// A viewState tells views of one cluster apart: who votes is no part of the store's
// state.
type viewState struct {
	version uint64
	voters  string
}

func (v *View) state() viewState {
	s := viewState{version: v.Version}
	for i := range v.Nodes {
		if v.Nodes[i].Voter {
			s.voters += v.Nodes[i].ID + " "
		}
	}
	return s
}

// node returns a member, nil if there is none of that id.
func (v *View) node(id string) *Node {
	i, ok := slices.BinarySearchFunc(v.Nodes, id, func(n Node, id string) int {
		switch {
		case n.ID < id:
			return -1
		case n.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &v.Nodes[i]
}

// removed reports whether a node was a manager and is gone.
func (v *View) removed(id string) bool {
	_, ok := slices.BinarySearch(v.Removed, id)
	return ok
}

// managers lists where managers other than self listen.
func (v *View) managers(self string) (out []netip.AddrPort) {
	for i := range v.Nodes {
		if n := &v.Nodes[i]; n.Spec.Role == cnm.Manager && n.ID != self && n.Control.IsValid() {
			out = append(out, n.Control)
		}
	}
	return out
}

// gossipAddrs lists where the other members gossip.
func (v *View) gossipAddrs(self string) (out []netip.AddrPort) {
	for i := range v.Nodes {
		if n := &v.Nodes[i]; n.ID != self && n.Gossip.IsValid() {
			out = append(out, n.Gossip)
		}
	}
	return out
}

const viewFile = "view.json"

// saveView keeps a view. It holds the gossip's keys: only the owner may read it.
func saveView(dir string, v *View) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, viewFile), b)
}

// LastView returns the view that a member keeps in its directory, whether it can be
// opened now or not.
func LastView(dir string) (*View, error) { return loadView(dir) }

// loadView reads the view kept last.
func loadView(dir string) (*View, error) {
	path := filepath.Join(dir, viewFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v := new(View)
	if err = json.Unmarshal(b, v); err == nil && (v.Cluster == "" || len(v.GossipKeys) == 0) {
		err = errors.New("it lacks the swarm's id or its keys")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w: restore it from a backup", path, err)
	}
	return v, nil
}

// writeFile replaces a file, whole or not at all.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// readJSON reads a small file of the member's own; fs.ErrNotExist if there is none.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	if err == nil {
		if err = json.Unmarshal(b, v); err != nil {
			err = fmt.Errorf("%s is damaged: %w", path, err)
		}
	}
	return err
}

// network returns a network, nil if there is none of that id.
func (v *View) network(id string) *cnm.Network {
	for i := range v.Networks {
		if v.Networks[i].ID == id {
			return &v.Networks[i]
		}
	}
	return nil
}
