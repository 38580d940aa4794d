package store

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// Theory of operation: snapshots on disk
//
// raft's own file store writes the snapshots; a snapStore between seals what goes
// in and opens what comes out, so that raft, which also sends snapshots to other
// managers, sees the plain stream and its plain size. A file is pieces of 64 KiB of
// plain text, the last one shorter and possibly empty; each is the nonce and the
// sealed text. Additional data is the number of the piece and whether it is the
// last, so that none can be left out, moved or cut off.

const (
	snapDir   = "snapshots" // named by raft's file store
	pieceSize = 64 << 10
	keepSnaps = 2
)

type snapStore struct {
	raft.SnapshotStore
	dir  string
	seal cipher.AEAD
}

func openSnapshots(dir string, seal cipher.AEAD, log *raftLogger) (*snapStore, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keepSnaps, log)
	if err != nil {
		return nil, fmt.Errorf("cluster snapshots in %s: %w", dir, err)
	}
	return &snapStore{files, filepath.Join(dir, snapDir), seal}, nil
}

// Create is part of raft.SnapshotStore.
func (s *snapStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &sealSink{SnapshotSink: sink, seal: s.seal, plain: make([]byte, 0, pieceSize)}, nil
}

// List is part of raft.SnapshotStore.
func (s *snapStore) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.SnapshotStore.List()
	for _, m := range metas {
		m.Size = s.plainSize(m.Size)
	}
	return metas, err
}

// Open is part of raft.SnapshotStore.
func (s *snapStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, r, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	m.Size = s.plainSize(m.Size)
	return m, &sealReader{file: r, seal: s.seal}, nil
}

// plainSize returns how much plain text a file of a size has.
func (s *snapStore) plainSize(n int64) int64 {
	piece := int64(pieceSize + nonceSize + s.seal.Overhead())
	pieces := (n + piece - 1) / piece
	return n - pieces*int64(nonceSize+s.seal.Overhead())
}

// check reads the newest snapshot and returns its index; 0 is none. Raft would
// take an older one without a word, and miss what has gone from the log since.
func (s *snapStore) check() (uint64, error) {
	metas, err := s.List()
	if err != nil {
		return 0, fmt.Errorf("cluster snapshots in %s: %w", s.dir, err)
	}
	found, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, fmt.Errorf("cluster snapshots in %s: %w", s.dir, err)
	}
	whole := 0
	for _, f := range found {
		if f.IsDir() && filepath.Ext(f.Name()) != ".tmp" {
			whole++
		}
	}
	advice := "; " + adviceLost
	if whole > len(metas) {
		return 0, fmt.Errorf("cluster snapshots in %s cannot be used: %d of %d have no readable description%s", s.dir, whole-len(metas), whole, advice)
	}
	if len(metas) == 0 {
		return 0, nil
	}
	newest := metas[0]
	_, r, err := s.Open(newest.ID)
	if err == nil {
		_, err = readState(r)
		r.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("cluster snapshot %s cannot be used: %w%s", filepath.Join(s.dir, newest.ID), err, advice)
	}
	return newest.Index, nil
}

func pieceData(n uint64, last bool) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

// A sealSink seals what is written to it.
type sealSink struct {
	raft.SnapshotSink
	seal  cipher.AEAD
	plain []byte
	n     uint64
}

func (s *sealSink) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if len(s.plain) == pieceSize {
			if err := s.flush(false); err != nil {
				return total - len(p), err
			}
		}
		k := min(len(p), pieceSize-len(s.plain))
		s.plain = append(s.plain, p[:k]...)
		p = p[k:]
	}
	return total, nil
}

func (s *sealSink) flush(last bool) error {
	_, err := s.SnapshotSink.Write(sealed(s.seal, s.plain, pieceData(s.n, last), nil))
	s.plain, s.n = s.plain[:0], s.n+1
	return err
}

func (s *sealSink) Close() error {
	if err := s.flush(true); err != nil {
		s.SnapshotSink.Cancel()
		return err
	}
	return s.SnapshotSink.Close()
}

// A sealReader opens what a sealSink sealed.
type sealReader struct {
	file  io.ReadCloser
	seal  cipher.AEAD
	plain []byte
	n     uint64
	done  bool
}

func (r *sealReader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.done {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	k := copy(p, r.plain)
	r.plain = r.plain[k:]
	return k, nil
}

// next opens one piece. A piece that is shorter than others can only be the last;
// one that is not may be.
func (r *sealReader) next() error {
	piece := make([]byte, nonceSize+pieceSize+r.seal.Overhead())
	k, err := io.ReadFull(r.file, piece)
	if err == io.ErrUnexpectedEOF {
		err = nil
	}
	if err == io.EOF {
		return fmt.Errorf("%w: it ends after %d pieces, without the last one", errTorn, r.n)
	} else if err != nil {
		return err
	}
	piece = piece[:k]
	plain, err := unseal(r.seal, piece, pieceData(r.n, false), nil)
	if err != nil {
		if plain, err = unseal(r.seal, piece, pieceData(r.n, true), nil); err != nil {
			return fmt.Errorf("piece %d: %w", r.n, errTorn)
		}
		r.done = true
	}
	r.plain, r.n = plain, r.n+1
	return nil
}

func (r *sealReader) Close() error { return r.file.Close() }
