package store

import (
	"iter"

	"github.com/google/btree"
)

// A Table is an immutable, sorted map by identifier. A changed table is another
// one that shares what did not change, so that a reader may keep a table for as
// long as it likes, and a change costs the path to one leaf. The zero value is
// empty.
type Table[V any] struct {
	tree *btree.BTreeG[row[V]] // never changed once it is in a Table
}

type row[V any] struct {
	id    string
	value V
}

// degree is that of the tree: up to 31 rows in a node, all copied when one of
// them changes.
const degree = 16

// Get returns the row of an identifier.
func (t Table[V]) Get(id string) (V, bool) {
	if t.tree == nil {
		var none V
		return none, false
	}
	r, ok := t.tree.Get(row[V]{id: id})
	return r.value, ok
}

// Len returns the number of rows.
func (t Table[V]) Len() int {
	if t.tree == nil {
		return 0
	}
	return t.tree.Len()
}

// All iterates over the rows in the order of their identifiers.
func (t Table[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if t.tree != nil {
			t.tree.Ascend(func(r row[V]) bool { return yield(r.id, r.value) })
		}
	}
}

// with returns the table with a row added or replaced. Like without it may be
// called by one goroutine at a time, whoever reads meanwhile.
func (t Table[V]) with(id string, v V) Table[V] {
	n := t.clone()
	n.tree.ReplaceOrInsert(row[V]{id, v})
	return n
}

// without returns the table without the rows of the identifiers.
func (t Table[V]) without(ids ...string) Table[V] {
	n := t.clone()
	for _, id := range ids {
		n.tree.Delete(row[V]{id: id})
	}
	return n
}

// grown adds a row in place, to a table that nobody else has yet.
func (t Table[V]) grown(id string, v V) Table[V] {
	if t.tree == nil {
		return t.with(id, v)
	}
	t.tree.ReplaceOrInsert(row[V]{id, v})
	return t
}

func (t Table[V]) clone() Table[V] {
	if t.tree == nil {
		return Table[V]{btree.NewG(degree, func(a, b row[V]) bool { return a.id < b.id })}
	}
	return Table[V]{t.tree.Clone()}
}
