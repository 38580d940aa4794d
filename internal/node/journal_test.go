package node

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"weft/internal/cnm"
	"weft/internal/discovery"
)

// filled makes a journal with a few hundred records and returns its path.
func filled(t *testing.T, dir string) string {
	t.Helper()
	j, _, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	j.db.NoSync = true
	for range 200 {
		if err := j.putSandbox(sandboxRecord{Sandbox: cnm.Sandbox{ID: cnm.NewID(), Spec: cnm.SandboxSpec{Name: strings.Repeat("x", 100)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, journalName)
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, c, err := openJournal(dir)
	if err != nil || len(c.networks)+len(c.sandboxes) != 0 || c.meta.NodeID == "" {
		t.Fatalf("new: %+v, %v", c, err)
	}
	if pid, err := os.ReadFile(filepath.Join(dir, pidName)); err != nil || string(pid) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("%s: %q, %v", pidName, pid, err)
	}
	id := c.meta.NodeID
	nw := networkRecord{bridge("a", map[string]string{"x": "y"}, "10.0.0.1")}
	nw.Network.Created = time.Now().UTC()
	sb := sandboxRecord{RunDir: "/run/x", Sandbox: cnm.Sandbox{ID: "s", State: cnm.Running, Endpoints: []cnm.Endpoint{at("a", "rose", "eth0", "10.0.0.2/24", "fd00::2/64").Endpoint}}}
	for _, err := range []error{j.putNetwork(nw), j.putSandbox(sb), j.putNetwork(networkRecord{bridge("b", nil)}), j.dropNetwork("b"), j.dropSandbox("unknown"), j.close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if j, c, err = openJournal(dir); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if c.meta.NodeID != id || !reflect.DeepEqual(c.networks, []networkRecord{nw}) || !reflect.DeepEqual(c.sandboxes, []sandboxRecord{sb}) {
		t.Errorf("read back %+v", c)
	}
	_, _, err = openJournal(dir)
	if err == nil || !strings.Contains(err.Error(), "uses the data directory "+dir) {
		t.Errorf("second opening: %v", err)
	}
}

// A file that is not a whole journal is refused by name, and left as it is.
// A journal of a weft that kept no names is read, and keeps them from then on.
func TestJournalWithoutNames(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketStatics) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 1} {
		j, c, err := openJournal(dir)
		if err != nil || len(c.sandboxes) != 200 || len(c.statics) != want {
			t.Fatalf("%d names: %+v, %v", want, c, err)
		}
		if err := j.putStatic("k", staticRecord{discovery.Static{Name: "db", Type: "A", Values: []string{"192.0.2.7"}}}); err != nil {
			t.Fatal(err)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedJournal(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string, b []byte) []byte
		want   string
	}{
		{"foreign", func(*testing.T, string, []byte) []byte { return []byte("a letter to my mother\n") }, "cannot be used"},
		{"another database", foreignDatabase, "not a weft journal"},
		{"later version", laterVersion, "version 2 found, this weft reads version 1"},
		{"half", func(_ *testing.T, _ string, b []byte) []byte { return b[:len(b)/2] }, "torn"},
		{"first page only", func(_ *testing.T, _ string, b []byte) []byte { return b[:4096] }, "cannot be used"},
		{"zeroes in the middle", func(_ *testing.T, _ string, b []byte) []byte {
			clear(b[4*4096:])
			return b
		}, "cannot be used"},
		{"one bit of a record", func(_ *testing.T, _ string, b []byte) []byte {
			for at, off := 0, 0; ; off += at + 1 { // in every copy, also those no longer referred to
				if at = bytes.Index(b[off:], []byte("xxxxxxxx")); at < 0 {
					return b
				}
				b[off+at] ^= 1
			}
		}, "checksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filled(t, dir)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := c.damage(t, path, b)
			if damaged != nil {
				if err := os.WriteFile(path, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := os.ReadFile(path)
			_, _, err = openJournal(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("opened: %v, want %q", err, c.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func foreignDatabase(t *testing.T, path string, _ []byte) []byte {
	os.Remove(path)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("things")); return err })
	return nil
}

func laterVersion(t *testing.T, path string, _ []byte) []byte {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	v, _ := seal(journalMeta{Format: journalFormat, Version: 2})
	db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(bucketMeta, v) })
	return nil
}
