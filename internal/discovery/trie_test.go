package discovery

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestTrie does to a trie what is done to a map, and keeps old ones: each must stay as
// it was.
func TestTrie(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tr, m := newTrie[int](), map[string]int{}
	type kept struct {
		tr   trie[int]
		want map[string]int
	}
	var old []kept
	for i := range 20000 {
		key := fmt.Sprint("n", rng.IntN(3000))
		if rng.IntN(3) == 0 {
			tr = tr.without(key)
			delete(m, key)
		} else {
			tr = tr.with(key, i)
			m[key] = i
		}
		if i%4000 == 1 {
			c := map[string]int{}
			for k, v := range m {
				c[k] = v
			}
			old = append(old, kept{tr, c})
		}
	}
	for _, k := range append(old, kept{tr, m}) {
		sameTrie(t, k.tr, k.want)
	}
	for key := range m {
		tr = tr.without(key)
	}
	sameTrie(t, tr, nil)
}

// TestTrieCollision gives several keys one hash, as an attacker would like to.
func TestTrieCollision(t *testing.T) {
	b := &branch[int]{}
	for i, key := range []string{"a", "b", "c", "b"} {
		var added bool
		if b, added = b.with(&leaf[int]{hash: 42, key: key, value: i}, 0); added == (i == 3) {
			t.Fatalf("%s, %d: added %v", key, i, added)
		}
	}
	b, _ = b.with(&leaf[int]{hash: 42 | 1<<40, key: "far", value: 9}, 0) // alike in 8 levels
	for key, want := range map[string]int{"a": 0, "b": 3, "c": 2} {
		if v, ok := find(b, 42, key); !ok || v != want {
			t.Errorf("%s: %d, %v", key, v, ok)
		}
	}
	if v, ok := find(b, 42|1<<40, "far"); !ok || v != 9 {
		t.Errorf("far: %d, %v", v, ok)
	}
	b, removed := b.without(42, "b", 0)
	if _, ok := find(b, 42, "b"); ok || !removed {
		t.Error("b is still there")
	}
	if v, ok := find(b, 42, "a"); !ok || v != 0 {
		t.Error("a is gone")
	}
}

func sameTrie(t *testing.T, tr trie[int], want map[string]int) {
	t.Helper()
	n := 0
	for k, v := range tr.all() {
		if n++; want[k] != v {
			t.Fatalf("%s is %d, want %d", k, v, want[k])
		}
	}
	if n != len(want) || tr.size != len(want) {
		t.Fatalf("%d keys, size %d, want %d", n, tr.size, len(want))
	}
	for k, v := range want {
		if got, ok := tr.get(k); !ok || got != v {
			t.Fatalf("get %s: %d, %v", k, got, ok)
		}
		if got, ok := tr.getBytes([]byte(k)); !ok || got != v {
			t.Fatalf("getBytes %s: %d, %v", k, got, ok)
		}
	}
}
