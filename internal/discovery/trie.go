package discovery

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// A trie is an immutable map from strings (a hash array mapped trie): with and without
// return a new one that shares all but the path to what changed, so a change costs some
// hundred bytes however many keys there are, and readers of the old one are never in
// anybody's way. The hash is seeded, for keys come from outside.
type trie[V any] struct {
	seed maphash.Seed
	root *branch[V]
	size int
}

// Each level takes fanBits of the hash; a branch holds only the slots in use.
const (
	fanBits  = 5
	hashBits = 64
)

type branch[V any] struct {
	used  uint32 // which of the 32 slots are there
	slots []slot[V]
}

// A slot leads to a branch or to leaves: several only where whole hashes collide.
type slot[V any] struct {
	branch *branch[V]
	leaf   *leaf[V]
}

type leaf[V any] struct {
	hash  uint64
	key   string
	value V
	next  *leaf[V]
}

func newTrie[V any]() trie[V] {
	return trie[V]{seed: maphash.MakeSeed(), root: &branch[V]{}}
}

func (t trie[V]) get(key string) (v V, ok bool) {
	return find(t.root, maphash.String(t.seed, key), key)
}

// getBytes is get without the cost of making a string.
func (t trie[V]) getBytes(key []byte) (v V, ok bool) {
	return find(t.root, maphash.Bytes(t.seed, key), key)
}

func find[V any, K string | []byte](b *branch[V], hash uint64, key K) (v V, ok bool) {
	for shift := 0; ; shift += fanBits {
		bit := uint32(1) << (hash >> shift & (1<<fanBits - 1))
		if b.used&bit == 0 {
			return v, false
		}
		s := &b.slots[bits.OnesCount32(b.used&(bit-1))]
		if s.branch != nil {
			b = s.branch
			continue
		}
		for l := s.leaf; l != nil; l = l.next {
			if l.hash == hash && l.key == string(key) {
				return l.value, true
			}
		}
		return v, false
	}
}

// with returns the trie with a value under key.
func (t trie[V]) with(key string, v V) trie[V] {
	l := &leaf[V]{hash: maphash.String(t.seed, key), key: key, value: v}
	var added bool
	t.root, added = t.root.with(l, 0)
	if added {
		t.size++
	}
	return t
}

// without returns the trie without key.
func (t trie[V]) without(key string) trie[V] {
	root, removed := t.root.without(maphash.String(t.seed, key), key, 0)
	if !removed {
		return t
	}
	if t.size--; root == nil {
		root = &branch[V]{}
	}
	t.root = root
	return t
}

func (b *branch[V]) with(l *leaf[V], shift int) (*branch[V], bool) {
	bit := uint32(1) << (l.hash >> shift & (1<<fanBits - 1))
	i := bits.OnesCount32(b.used & (bit - 1))
	if b.used&bit == 0 {
		return &branch[V]{b.used | bit, slices.Insert(slices.Clone(b.slots), i, slot[V]{leaf: l})}, true
	}
	old, added := b.slots[i], false
	var s slot[V]
	switch {
	case old.branch != nil:
		s.branch, added = old.branch.with(l, shift+fanBits)
	case old.leaf.hash == l.hash:
		s.leaf, added = old.leaf.with(l)
	default: // two hashes that are alike so far
		down, _ := (&branch[V]{}).with(old.leaf, shift+fanBits)
		s.branch, added = down.with(l, shift+fanBits)
	}
	slots := slices.Clone(b.slots)
	slots[i] = s
	return &branch[V]{b.used, slots}, added
}

// with returns the leaves of one hash with l among them.
func (old *leaf[V]) with(l *leaf[V]) (*leaf[V], bool) {
	rest, found := old.drop(l.key)
	l.next = rest
	return l, !found
}

// drop returns the leaves of one hash but that of key.
func (old *leaf[V]) drop(key string) (rest *leaf[V], found bool) {
	for l := old; l != nil; l = l.next {
		if l.key == key {
			found = true
			continue
		}
		rest = &leaf[V]{l.hash, l.key, l.value, rest}
	}
	return rest, found
}

func (b *branch[V]) without(hash uint64, key string, shift int) (*branch[V], bool) {
	bit := uint32(1) << (hash >> shift & (1<<fanBits - 1))
	i := bits.OnesCount32(b.used & (bit - 1))
	if b.used&bit == 0 {
		return b, false
	}
	s := b.slots[i]
	if s.branch != nil {
		down, removed := s.branch.without(hash, key, shift+fanBits)
		if !removed {
			return b, false
		}
		s.branch = down
	} else {
		rest, found := s.leaf.drop(key)
		if !found || s.leaf.hash != hash {
			return b, false
		}
		s.leaf = rest
	}
	if s.branch == nil && s.leaf == nil {
		if len(b.slots) == 1 {
			return nil, true
		}
		return &branch[V]{b.used &^ bit, slices.Delete(slices.Clone(b.slots), i, i+1)}, true
	}
	slots := slices.Clone(b.slots)
	slots[i] = s
	return &branch[V]{b.used, slots}, true
}

// all yields every key and value, in no order.
func (t trie[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { t.root.all(yield) }
}

func (b *branch[V]) all(yield func(string, V) bool) bool {
	for i := range b.slots {
		if down := b.slots[i].branch; down != nil && !down.all(yield) {
			return false
		}
		for l := b.slots[i].leaf; l != nil; l = l.next {
			if !yield(l.key, l.value) {
				return false
			}
		}
	}
	return true
}
