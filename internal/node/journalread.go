package node

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// readJournal reads the file at path completely without changing it.
func readJournal(path string) (c *journalContents, err error) {
	err = guarded(func() error {
		// Read-only: bbolt then leaves its free list, which may lie beyond the
		// end of a truncated file, alone.
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 200 * time.Millisecond})
		if err != nil {
			return err
		}
		defer db.Close()
		if err := checkSize(db, path); err != nil {
			return err
		}
		c, err = loadContents(db)
		return err
	})
	return c, err
}

// checkSize compares the size the meta page knows with the file's.
func checkSize(db *bbolt.DB, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > st.Size() {
			return fmt.Errorf("it is torn: %d bytes found, %d expected", st.Size(), tx.Size())
		}
		return nil
	})
}

// guarded runs f and turns a panic or a memory fault, which is how bbolt meets a
// damaged page, into an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it is damaged: %v", r)
		}
	}()
	return f()
}

func loadContents(db *bbolt.DB) (*journalContents, error) {
	c := new(journalContents)
	err := db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return fmt.Errorf("it is not a weft journal: bucket %q is missing", bucketMeta)
		}
		if err := unseal(meta.Get(bucketMeta), &c.meta); err != nil {
			return fmt.Errorf("it is not a weft journal: %w", err)
		}
		if c.meta.Format != journalFormat {
			return fmt.Errorf("it is not a weft journal: format %q found, %q expected", c.meta.Format, journalFormat)
		}
		if c.meta.Version != journalVersion {
			return fmt.Errorf("version %d found, this weft reads version %d", c.meta.Version, journalVersion)
		}
		var err error
		if c.networks, err = loadBucket[networkRecord](tx, bucketNetworks); err != nil {
			return err
		}
		if c.sandboxes, err = loadBucket[sandboxRecord](tx, bucketSandboxes); err != nil || tx.Bucket(bucketStatics) == nil {
			return err
		}
		c.statics, err = loadBucket[staticRecord](tx, bucketStatics)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func loadBucket[T any](tx *bbolt.Tx, name []byte) ([]T, error) {
	b := tx.Bucket(name)
	if b == nil {
		return nil, fmt.Errorf("it is damaged: bucket %q is missing", name)
	}
	var out []T
	err := b.ForEach(func(k, v []byte) error {
		var r T
		if err := unseal(v, &r); err != nil {
			return fmt.Errorf("it is damaged: %s %.12s: %w", name, k, err)
		}
		out = append(out, r)
		return nil
	})
	return out, err
}
