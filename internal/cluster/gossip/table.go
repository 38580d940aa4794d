package gossip

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Theory of operation: a table
//
// A table holds the rows of one network: owner -> key -> entry. It has no lock and
// no clock; its user has both.
//
// Of two rows with one owner and key the higher version wins, whatever order they
// come in, so merging is commutative, associative and idempotent: whoever heard
// the same rows has the same table. An owner never gives a version twice.
//
// A deleted row stays as a tombstone, so that an older copy underway cannot bring
// it back, until it is reaped; by then whoever missed the tombstone has compared
// digests many times, or has dropped the owner's rows because it was out of reach.
// If a row comes back all the same, its owner hears of it and deletes it again.
//
// An owner's rows at or below its floor are void: the floor is the version of its
// last attaching to the network or detaching from it, and it starts empty there.
//
// The digest of an owner's rows is the exclusive or of a hash of each live row,
// kept up to date at each change. Tombstones do not count, for they are reaped at
// different times; a node that missed one still holds the row, which does count.

type outcome uint8

const (
	stale   outcome = iota // known already, or older, or void
	applied                // the table changed
	full                   // refused: no room
)

type entry struct {
	version uint64
	value   []byte
	deleted bool
	at      time.Time // when it came here; tombstones are reaped by it
}

type ownerRows struct {
	rows   map[string]entry
	floor  uint64
	digest uint64
}

type table struct {
	owners map[string]*ownerRows
	count  int // entries of all owners
	limit  int
}

func newTable(limit int) *table { return &table{owners: map[string]*ownerRows{}, limit: limit} }

// merge takes a row in. The table keeps r.Value.
func (t *table) merge(r Row, now time.Time) outcome {
	o := t.owners[r.Owner]
	if o == nil {
		if t.count >= t.limit {
			return full
		}
		o = &ownerRows{rows: map[string]entry{}}
		t.owners[r.Owner] = o
	}
	old, known := o.rows[r.Key]
	switch {
	case r.Version <= o.floor, known && r.Version <= old.version:
		return stale
	case !known && t.count >= t.limit:
		return full
	case !known:
		t.count++
	case !old.deleted:
		o.digest ^= hashRow(r.Key, old.version)
	}
	e := entry{version: r.Version, value: r.Value, deleted: r.Deleted, at: now}
	if r.Deleted {
		e.value = nil
	} else {
		o.digest ^= hashRow(r.Key, r.Version)
	}
	o.rows[r.Key] = e
	return applied
}

// raise makes the owner's rows up to version void and reports whether live ones
// went.
func (t *table) raise(owner string, version uint64) (changed bool) {
	o := t.owners[owner]
	if o == nil {
		o = &ownerRows{rows: map[string]entry{}}
		t.owners[owner] = o
	}
	if version <= o.floor {
		return false
	}
	o.floor = version
	for key, e := range o.rows {
		if e.version <= version {
			changed = changed || !e.deleted
			t.remove(o, key, e)
		}
	}
	return changed
}

func (t *table) remove(o *ownerRows, key string, e entry) {
	if !e.deleted {
		o.digest ^= hashRow(key, e.version)
	}
	delete(o.rows, key)
	t.count--
}

// drop forgets an owner and reports whether it had rows.
func (t *table) drop(owner string) bool {
	o := t.owners[owner]
	if o == nil {
		return false
	}
	t.count -= len(o.rows)
	delete(t.owners, owner)
	return len(o.rows) > 0
}

// reap removes tombstones that came before a time.
func (t *table) reap(before time.Time) {
	for _, o := range t.owners {
		for key, e := range o.rows {
			if e.deleted && e.at.Before(before) {
				t.remove(o, key, e)
			}
		}
	}
}

func (t *table) get(owner, key string) (entry, bool) {
	o := t.owners[owner]
	if o == nil {
		return entry{}, false
	}
	e, ok := o.rows[key]
	return e, ok
}

// floor returns the version at and below which an owner's rows are void.
func (t *table) floor(owner string) uint64 {
	if o := t.owners[owner]; o != nil {
		return o.floor
	}
	return 0
}

// live returns the rows of the owners that a function admits, by owner and key.
func (t *table) live(network string, admit func(owner string) bool) []Row {
	var rows []Row
	for owner, o := range t.owners {
		if !admit(owner) {
			continue
		}
		for key, e := range o.rows {
			if !e.deleted {
				rows = append(rows, e.row(network, owner, key))
			}
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Key, b.Key))
	})
	return rows
}

// all returns every row of an owner, tombstones too, by key.
func (t *table) all(network, owner string) []Row {
	o := t.owners[owner]
	if o == nil {
		return nil
	}
	rows := make([]Row, 0, len(o.rows))
	for _, key := range slices.Sorted(maps.Keys(o.rows)) {
		rows = append(rows, o.rows[key].row(network, owner, key))
	}
	return rows
}

// borrowed: the value is the table's, which replaces it but never writes to it.
func (e entry) row(network, owner, key string) Row {
	return Row{Network: network, Owner: owner, Key: key, Version: e.version, Value: e.value, Deleted: e.deleted}
}
