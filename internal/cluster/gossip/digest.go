package gossip

import (
	"maps"
	"slices"
)

// An ownerDigest stands for all live rows of an owner.
type ownerDigest struct {
	owner string
	sum   uint64
}

// A keyVersion stands for one row.
type keyVersion struct {
	key     string
	version uint64
	deleted bool
}

// ownerVersions stands for an owner's rows one by one, tombstones too.
type ownerVersions struct {
	owner string
	rows  []keyVersion
}

// A rowKey names one row of a network.
type rowKey struct{ owner, key string }

// digests returns the digest of each owner that a function admits and that has
// live rows, by owner.
func (t *table) digests(admit func(owner string) bool) []ownerDigest {
	var ds []ownerDigest
	for _, owner := range slices.Sorted(maps.Keys(t.owners)) {
		if o := t.owners[owner]; o.digest != 0 && admit(owner) {
			ds = append(ds, ownerDigest{owner, o.digest})
		}
	}
	return ds
}

// sum stands for the live rows of all owners that a function admits.
func (t *table) sum(admit func(owner string) bool) (sum uint64) {
	for owner, o := range t.owners {
		if o.digest != 0 && admit(owner) {
			sum ^= hashRow(owner, o.digest)
		}
	}
	return sum
}

// differing returns the admitted owners whose digest here is another than the one
// in ds, sorted. An owner that ds does not name has digest zero there.
func (t *table) differing(ds []ownerDigest, admit func(owner string) bool) []string {
	theirs := make(map[string]uint64, len(ds))
	for _, d := range ds {
		theirs[d.owner] = d.sum
	}
	var owners []string
	for owner, o := range t.owners {
		sum, named := theirs[owner]
		if o.digest != sum && admit(owner) {
			owners = append(owners, owner)
		}
		if named {
			delete(theirs, owner)
		}
	}
	for owner, sum := range theirs {
		if sum != 0 && admit(owner) {
			owners = append(owners, owner)
		}
	}
	slices.Sort(owners)
	return owners
}

// versions lists an owner's rows, by key.
func (t *table) versions(owner string) ownerVersions {
	v := ownerVersions{owner: owner}
	if o := t.owners[owner]; o != nil {
		for _, key := range slices.Sorted(maps.Keys(o.rows)) {
			e := o.rows[key]
			v.rows = append(v.rows, keyVersion{key, e.version, e.deleted})
		}
	}
	return v
}

// compare holds another node's list against the table: which rows are newer here,
// or only here, and which are newer there. A tombstone whose row the other side
// does not know is left out: two nodes that reap at different times would keep it
// alive between them for ever.
func (t *table) compare(network string, theirs ownerVersions) (give []Row, want []rowKey) {
	there := make(map[string]uint64, len(theirs.rows))
	for _, r := range theirs.rows {
		there[r.key] = r.version
		e, known := t.get(theirs.owner, r.key)
		if r.version > t.floor(theirs.owner) && (known && e.version < r.version || !known && !r.deleted) {
			want = append(want, rowKey{theirs.owner, r.key})
		}
	}
	for _, r := range t.all(network, theirs.owner) {
		v, known := there[r.Key]
		if known && v < r.Version || !known && !r.Deleted {
			give = append(give, r)
		}
	}
	return give, want
}

// hashRow mixes a key and a version into 64 bits, the same on every node: FNV-1a,
// then the finalizer of MurmurHash3, without which an exclusive or of hashes of
// like keys would cancel out. It is no defence against who makes collisions on
// purpose, who holds a key of the ring.
func hashRow(key string, version uint64) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= version * 0x9e3779b97f4a7c15
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
