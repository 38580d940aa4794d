package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Theory of operation
//
// A Table holds, for each network, who says what: endpoints, services, static records.
// From these it makes for each name one immutable entry with its answers, and for each
// address who has it, in tries that readers load with one atomic read. A change makes
// anew the entries of the names it touches and no more; changes of one Update are
// published network by network, so a reader sees all of an update on a network or
// nothing of it.
//
// Networks are created by SetNetwork and taken away with all they hold. What comes for
// another network is ErrNoNetwork: the caller says first what there is. Static records
// without a network are in a zone of their own, which every view asks last.
//
// All is bounded (Limits); what does not fit is ErrFull and counted.

// DefaultTTL is how long an answer may be kept by who asked, unless something else is
// said. Docker says 600 s, which outlives many a container.
const DefaultTTL = 5 * time.Second

// Limits are how much a table holds; zero values are replaced by the defaults.
type Limits struct {
	Networks  int // 4,096
	Endpoints int // of all networks together: 131,072
	Services  int // 32,768
	Statics   int // 32,768
}

// TableConfig is how a table is made.
type TableConfig struct {
	TTL    time.Duration // zero is DefaultTTL, negative is 0
	Limits Limits
	Stats  *Stats // nil: nothing is counted for others to see
}

// A Table holds the records of a node. It is safe for concurrent use.
type Table struct {
	ttl    uint32
	limits Limits
	stats  *Stats

	nets   atomic.Pointer[networks]
	serial atomic.Uint32 // of the last change, for zone transfers (RFC 1982)

	mu        sync.Mutex // taken by writers, and by who lists
	endpoints int
	services  int
	statics   int
}

// networks is one state of which there are.
type networks struct {
	byID   map[string]*zone
	byName map[string]*zone // lower case
	all    *zone            // what is static and of no network
}

// NewTable returns an empty table.
func NewTable(c TableConfig) *Table {
	l := &c.Limits
	l.Networks, l.Endpoints = cmp.Or(l.Networks, 4096), cmp.Or(l.Endpoints, 131072)
	l.Services, l.Statics = cmp.Or(l.Services, 32768), cmp.Or(l.Statics, 32768)
	t := &Table{ttl: seconds(c.TTL, uint32(DefaultTTL/time.Second)), limits: *l, stats: cmp.Or(c.Stats, &Stats{})}
	all := newZone(t.stats, "")
	all.describe("", 0, t.ttl)
	t.nets.Store(&networks{map[string]*zone{}, map[string]*zone{}, all})
	return t
}

// Serial returns a number that another one follows with every change (RFC 1982).
func (t *Table) Serial() uint32 { return t.serial.Load() }

// Update has change do several changes at a time and returns the conflicts that began
// with them. A change that fails does nothing; the others are done all the same. The Tx
// is good only until change returns.
func (t *Table) Update(change func(*Tx)) []Conflict {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx := &Tx{t: t, touched: map[*zone]bool{}}
	change(tx)
	var found []Conflict
	for z := range tx.touched {
		tx.changed = tx.changed || z.edited()
		found = z.commit(found)
	}
	if tx.changed {
		t.serial.Add(1)
	}
	slices.SortFunc(found, Conflict.compare)
	return found
}

// A Tx is an update that is going on.
type Tx struct {
	t       *Table
	touched map[*zone]bool
	changed bool
}

// SetNetwork adds a network, or gives one another name or TTL.
func (tx *Tx) SetNetwork(n Network) error {
	t := tx.t
	nets := *t.nets.Load()
	z := nets.byID[n.ID]
	switch {
	case n.ID == "":
		return invalid("a network without an ID")
	case z == nil && len(nets.byID) == t.limits.Networks:
		t.stats.count(TableFull)
		return fmt.Errorf("network %s: %w: %d networks", n.Name, ErrFull, len(nets.byID))
	}
	if z == nil {
		z = newZone(t.stats, n.ID)
	}
	nets.byID, nets.byName = maps.Clone(nets.byID), maps.Clone(nets.byName)
	if old := z.snap.Load().lower; nets.byName[old] == z {
		delete(nets.byName, old)
	}
	z.describe(n.Name, n.TTL, t.ttl)
	nets.byID[n.ID], nets.byName[strings.ToLower(n.Name)] = z, z
	t.nets.Store(&nets)
	tx.changed = true
	return nil
}

// RemoveNetwork forgets a network and all that is on it.
func (tx *Tx) RemoveNetwork(id string) {
	t := tx.t
	nets := *t.nets.Load()
	z := nets.byID[id]
	if z == nil {
		return
	}
	nets.byID, nets.byName = maps.Clone(nets.byID), maps.Clone(nets.byName)
	delete(nets.byID, id)
	if lower := z.snap.Load().lower; nets.byName[lower] == z {
		delete(nets.byName, lower)
	}
	t.nets.Store(&nets)
	t.endpoints -= len(z.endpoints)
	t.services -= len(z.services)
	t.statics -= len(z.statics)
	delete(tx.touched, z)
	tx.changed = true
}

// zone returns a network's, which the update then touches.
func (tx *Tx) zone(id string) (*zone, error) {
	z := tx.t.nets.Load().zone(id)
	if z == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoNetwork, id)
	}
	tx.touched[z] = true
	return z, nil
}

func (n *networks) zone(id string) *zone {
	if id == "" {
		return n.all
	}
	return n.byID[id]
}

// room says whether one more of something fits.
func (tx *Tx) room(n *int, limit int, of map[string]*owner, id, what string) error {
	if of[id] != nil {
		return nil
	}
	if *n >= limit {
		tx.t.stats.count(TableFull)
		return fmt.Errorf("%s %s: %w: %d of them", what, id, ErrFull, *n)
	}
	*n++
	return nil
}
