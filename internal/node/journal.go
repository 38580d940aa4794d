package node

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// Theory of operation: the journal
//
// One bbolt file holds what was asked for and given. Buckets: "weft" (format,
// version, node id), "networks" and "sandboxes" (id -> record), "names" (static DNS
// records). A value is the
// CRC-32C of a JSON document, four bytes big endian, and the document: bbolt's
// own checksums cover its two meta pages only. Addresses are not stored apart:
// they follow from networks and endpoints. bbolt's file lock, held as long as the
// journal is open, makes sure of a single daemon per data directory.
//
// A file is read completely, read-only, before anything is written to it: a torn
// or foreign one is refused as it lies.

const (
	journalName    = "weft.db"
	journalFormat  = "weft node journal"
	journalVersion = 1
	pidName        = "weft.pid"
)

var (
	bucketMeta      = []byte("weft")
	bucketNetworks  = []byte("networks")
	bucketSandboxes = []byte("sandboxes")
	bucketStatics   = []byte("names") // not in files of earlier versions
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
)

// A networkRecord is a network as the journal keeps it.
type networkRecord struct {
	Network cnm.Network
}

// A sandboxRecord is a sandbox as the journal keeps it.
type sandboxRecord struct {
	Sandbox cnm.Sandbox
	NextIf  int    // next N of ethN
	RunDir  string // of the agent, while there is one
	// Namespace is the foreign namespace it was attached to; zero in records of
	// earlier versions.
	Namespace sandbox.NamespaceID
	Changed   bool `json:",omitempty"` // its default routes are to be set again
}

type journalMeta struct {
	Format  string
	Version int
	NodeID  string
}

// journalContents is everything a journal holds.
type journalContents struct {
	meta      journalMeta
	networks  []networkRecord
	sandboxes []sandboxRecord
	statics   []staticRecord
}

type journal struct {
	db  *bbolt.DB
	dir string
}

// openJournal opens the journal in dir, makes it when there is none, and returns
// its contents.
func openJournal(dir string) (*journal, *journalContents, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	path := filepath.Join(dir, journalName)
	if st, err := os.Stat(path); err == nil && st.Size() > 0 {
		if _, err := readJournal(path); err != nil {
			return nil, nil, journalError(dir, path, err)
		}
	}
	var j *journal
	var c *journalContents
	err := guarded(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 200 * time.Millisecond, NoFreelistSync: true})
		if err != nil {
			return err
		}
		j = &journal{db: db, dir: dir}
		if err = j.prepare(); err == nil {
			c, err = loadContents(db)
		}
		if err != nil {
			db.Close()
		}
		return err
	})
	if err != nil {
		return nil, nil, journalError(dir, path, err)
	}
	if err := os.WriteFile(filepath.Join(dir, pidName), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		j.close()
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	return j, c, nil
}

// journalError says what is wrong with the file at path and what to do.
func journalError(dir, path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		who := "another weft daemon"
		if pid, e := os.ReadFile(filepath.Join(dir, pidName)); e == nil {
			who += " (pid " + strings.TrimSpace(string(pid)) + ")"
		}
		return cnm.Errorf(cnm.Conflict, "%s uses the data directory %s: stop it, or choose another with --data-dir", who, dir)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("journal %s: %w", path, err)
	}
	return fmt.Errorf("journal %s cannot be used: %w; restore it from a backup, or move it away to start with no networks and no sandboxes", path, err)
}

// prepare makes the buckets of a new file.
func (j *journal) prepare() error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(bucketStatics); err != nil {
			return err
		}
		if tx.Bucket(bucketMeta) != nil {
			return nil
		}
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{bucketNetworks, bucketSandboxes} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		v, err := seal(journalMeta{Format: journalFormat, Version: journalVersion, NodeID: cnm.NewID()})
		if err != nil {
			return err
		}
		return meta.Put(bucketMeta, v)
	})
}

func (j *journal) close() error {
	os.Remove(filepath.Join(j.dir, pidName))
	return j.db.Close()
}

func (j *journal) putNetwork(r networkRecord) error {
	return j.put(bucketNetworks, r.Network.ID, r)
}

func (j *journal) putSandbox(r sandboxRecord) error {
	return j.put(bucketSandboxes, r.Sandbox.ID, r)
}

func (j *journal) putStatic(key string, r staticRecord) error { return j.put(bucketStatics, key, r) }

func (j *journal) dropStatic(key string) error { return j.drop(bucketStatics, key) }

func (j *journal) dropNetwork(id string) error { return j.drop(bucketNetworks, id) }

func (j *journal) dropSandbox(id string) error { return j.drop(bucketSandboxes, id) }

func (j *journal) put(bucket []byte, id string, v any) error {
	b, err := seal(v)
	if err != nil {
		return err
	}
	err = j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(id), b) })
	if err != nil {
		return fmt.Errorf("journal: write %s %.12s: %w", bucket, id, err)
	}
	return nil
}

func (j *journal) drop(bucket []byte, id string) error {
	err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete([]byte(id)) })
	if err != nil {
		return fmt.Errorf("journal: remove %s %.12s: %w", bucket, id, err)
	}
	return nil
}

// seal encodes v with its checksum in front.
func seal(v any) ([]byte, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(doc)), crc32.Checksum(doc, castagnoli))
	return append(b, doc...), nil
}

// unseal checks and decodes what seal made.
func unseal(b []byte, v any) error {
	if len(b) < 4 {
		return fmt.Errorf("value of %d bytes, at least 4 expected", len(b))
	}
	if sum := crc32.Checksum(b[4:], castagnoli); sum != binary.BigEndian.Uint32(b) {
		return fmt.Errorf("checksum %08x found, %08x expected", sum, binary.BigEndian.Uint32(b))
	}
	return json.Unmarshal(b[4:], v)
}
