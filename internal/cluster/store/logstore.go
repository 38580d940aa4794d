package store

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Theory of operation: the log on disk
//
// One bbolt file holds raft's log and the few values it keeps beside it (term and
// vote). Buckets: "weft" (the format), "log" (index, 8 bytes big endian -> entry)
// and "stable" (name -> value). Entries and values are sealed with AES-256-GCM
// under the manager's own data key (keyfile.go), because the log carries the
// cluster's secrets; bucket and key are the additional data, so that none can be
// put in another's place. A value is the nonce, 12 random bytes, and the sealed
// text. Opening it is also the check that it is what was written.
//
// A file is read completely, read-only, before anything is written to it: a torn
// or foreign one is refused as it lies.

const (
	logName   = "cluster.db"
	logFormat = "weft cluster log, version 1"
	nonceSize = 12
)

var (
	bucketMeta   = []byte("weft")
	bucketLog    = []byte("log")
	bucketStable = []byte("stable")
	errNotFound  = errors.New("not found") // raft compares the text
)

// errUnborn is the error about a file that was made, and then nothing was put in.
var errUnborn = errors.New("it is empty")

// A logStore is raft's LogStore and StableStore.
type logStore struct {
	db   *bbolt.DB
	seal cipher.AEAD
	disk disk
}

// openLog opens the log at path, or makes it. seal is the manager's data key.
func openLog(path string, seal cipher.AEAD) (l *logStore, err error) {
	st, err := os.Stat(path)
	there := err == nil && st.Size() > 0
	if there {
		if err := checkLog(path, seal); errors.Is(err, errUnborn) {
			there = false
		} else if err != nil {
			return nil, logError(path, err)
		}
	}
	err = guarded(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 200 * time.Millisecond, NoFreelistSync: true})
		if err != nil {
			return err
		}
		l = &logStore{db: db, seal: seal}
		if there {
			return nil
		}
		if err = db.Update(prepareLog); err != nil {
			db.Close()
		}
		return err
	})
	if err != nil {
		return nil, logError(path, err)
	}
	return l, nil
}

// prepareLog makes the buckets of a new file.
func prepareLog(tx *bbolt.Tx) error {
	for _, b := range [][]byte{bucketMeta, bucketLog, bucketStable} {
		if _, err := tx.CreateBucket(b); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put([]byte("format"), []byte(logFormat))
}

// logError says what is wrong with the file at path and what to do.
func logError(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("cluster log %s is in use by another daemon: stop it, or choose another data directory", path)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("cluster log %s: %w", path, err)
	}
	return fmt.Errorf("cluster log %s cannot be used: %w; %s", path, err, adviceLost)
}

// guarded runs f and turns a panic or a memory fault, which is how bbolt meets a
// damaged page, into an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errTorn, r)
		}
	}()
	return f()
}

// checkLog reads all of a file.
func checkLog(path string, seal cipher.AEAD) error {
	return guarded(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 200 * time.Millisecond})
		if err != nil {
			return err
		}
		defer db.Close()
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) error {
			if tx.Size() > st.Size() {
				return fmt.Errorf("%w: it has %d bytes, %d expected", errTorn, st.Size(), tx.Size())
			}
			if k, _ := tx.Cursor().First(); k == nil {
				return errUnborn
			}
			meta := tx.Bucket(bucketMeta)
			if meta == nil || string(meta.Get([]byte("format"))) != logFormat {
				return fmt.Errorf("it is not a %s", logFormat)
			}
			for _, name := range [][]byte{bucketLog, bucketStable} {
				b := tx.Bucket(name)
				if b == nil {
					return fmt.Errorf("%w: bucket %q is missing", errTorn, name)
				}
				err := b.ForEach(func(k, v []byte) error {
					_, err := unseal(seal, v, name, k)
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// sealed returns plain as it lies in a bucket.
func sealed(seal cipher.AEAD, plain, bucket, key []byte) []byte {
	out := newNonce(nonceSize + len(plain) + seal.Overhead())
	return seal.Seal(out, out, plain, slices.Concat(bucket, key))
}

func unseal(seal cipher.AEAD, v, bucket, key []byte) ([]byte, error) {
	if len(v) < nonceSize {
		return nil, fmt.Errorf("%w: %s %x has %d bytes", errTorn, bucket, key, len(v))
	}
	plain, err := seal.Open(nil, v[:nonceSize], v[nonceSize:], slices.Concat(bucket, key))
	if err != nil {
		return nil, fmt.Errorf("%w, or sealed with another key: %s %x", errTorn, bucket, key)
	}
	return plain, nil
}

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// FirstIndex is part of raft.LogStore.
func (l *logStore) FirstIndex() (uint64, error) { return l.edge((*bbolt.Cursor).First) }

// LastIndex is part of raft.LogStore.
func (l *logStore) LastIndex() (uint64, error) { return l.edge((*bbolt.Cursor).Last) }

func (l *logStore) edge(end func(*bbolt.Cursor) ([]byte, []byte)) (i uint64, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		if k, _ := end(tx.Bucket(bucketLog).Cursor()); k != nil {
			i = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return i, err
}

// An entry is packed as type, term, time of appending (Unix nanoseconds, 0: none),
// length of the extensions, extensions, data. Its index is the key.
const entryHead = 1 + 8 + 8 + 4

func packEntry(e *raft.Log) []byte {
	b := make([]byte, 0, entryHead+len(e.Extensions)+len(e.Data))
	b = append(b, byte(e.Type))
	b = binary.BigEndian.AppendUint64(b, e.Term)
	var at int64
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Extensions)))
	return append(append(b, e.Extensions...), e.Data...)
}

func unpackEntry(b []byte, e *raft.Log) error {
	if len(b) < entryHead {
		return fmt.Errorf("%w: entry of %d bytes", errTorn, len(b))
	}
	e.Type, e.Term = raft.LogType(b[0]), binary.BigEndian.Uint64(b[1:])
	e.AppendedAt = time.Time{}
	if at := int64(binary.BigEndian.Uint64(b[9:])); at != 0 {
		e.AppendedAt = time.Unix(0, at)
	}
	n, rest := binary.BigEndian.Uint32(b[17:]), b[entryHead:]
	if uint64(n) > uint64(len(rest)) {
		return fmt.Errorf("%w: entry with %d bytes of extensions in %d", errTorn, n, len(rest))
	}
	e.Extensions, e.Data = nil, rest[n:]
	if n > 0 {
		e.Extensions = rest[:n:n]
	}
	return nil
}

// GetLog is part of raft.LogStore.
func (l *logStore) GetLog(index uint64, e *raft.Log) error {
	return l.db.View(func(tx *bbolt.Tx) error {
		k := indexKey(index)
		v := tx.Bucket(bucketLog).Get(k)
		if v == nil {
			return raft.ErrLogNotFound
		}
		plain, err := unseal(l.seal, v, bucketLog, k)
		if err != nil {
			return err
		}
		e.Index = index
		return unpackEntry(plain, e)
	})
}

// StoreLog is part of raft.LogStore.
func (l *logStore) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs is part of raft.LogStore. The entries are on the disk when it returns.
func (l *logStore) StoreLogs(entries []*raft.Log) error {
	return l.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog)
		for _, e := range entries {
			k := indexKey(e.Index)
			if err := b.Put(k, sealed(l.seal, packEntry(e), bucketLog, k)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange is part of raft.LogStore; both ends are deleted.
func (l *logStore) DeleteRange(first, last uint64) error {
	return l.update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for k, _ := c.Seek(indexKey(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, _ = c.Seek(indexKey(first)) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set is part of raft.StableStore.
func (l *logStore) Set(k, v []byte) error {
	return l.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketStable).Put(k, sealed(l.seal, v, bucketStable, k))
	})
}

// Get is part of raft.StableStore.
func (l *logStore) Get(k []byte) (v []byte, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		s := tx.Bucket(bucketStable).Get(k)
		if s == nil {
			return errNotFound
		}
		v, err = unseal(l.seal, s, bucketStable, k)
		return err
	})
	return v, err
}

// SetUint64 is part of raft.StableStore.
func (l *logStore) SetUint64(k []byte, v uint64) error {
	if has, err := l.GetUint64(k); err == nil && has == v {
		return nil // raft says the term again at each start: that needs no space
	}
	if string(k) != currentTerm {
		return l.Set(k, indexKey(v))
	}
	return l.untilWritten(func() error { return l.Set(k, indexKey(v)) })
}

// currentTerm is raft's name of the value it does not go on without.
const currentTerm = "CurrentTerm"

// GetUint64 is part of raft.StableStore.
func (l *logStore) GetUint64(k []byte) (uint64, error) {
	v, err := l.Get(k)
	if err == nil && len(v) != 8 {
		err = fmt.Errorf("%w: %s has %d bytes, 8 expected", errTorn, k, len(v))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

func (l *logStore) close() error { return l.db.Close() }
