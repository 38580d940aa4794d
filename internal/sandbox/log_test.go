//go:build linux

package sandbox

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func newTestLog(t *testing.T, limit int64, files int) (*logFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), LogName)
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	l, err := openLog(dir, path, limit, files)
	if err != nil {
		t.Fatal(err)
	}
	return l, path
}

func TestLogLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, tt := range []struct {
		name   string
		writes []string
		want   []string
	}{
		{"one line", []string{"a\n"}, []string{"a\n"}},
		{"two lines in one write", []string{"a\nb\n"}, []string{"a\n", "b\n"}},
		{"a line in three writes", []string{"a", "b", "c\n"}, []string{"abc\n"}},
		{"end without newline", []string{"a\nb"}, []string{"a\n", "b"}},
		{"empty lines", []string{"\n\n"}, []string{"\n", "\n"}},
		{"exactly the longest", []string{long[1:] + "\n"}, []string{long[1:] + "\n"}},
		{"one too long", []string{long + "\n"}, []string{long, "\n"}},
		{"much too long, cut in the middle", []string{long[:100], long + "yz\n"}, []string{long, long[:100] + "yz\n"}},
		{"not UTF-8", []string{"a\xff\n"}, []string{"a\ufffd\n"}},
		{"escapes", []string{"\"\\\t\r\x00\x1b\n"}, []string{"\"\\\t\r\x00\x1b\n"}},
	} {
		l, path := newTestLog(t, 1<<20, 2)
		now := time.Date(2024, 5, 1, 12, 0, 0, 123456789, time.UTC)
		for _, w := range tt.writes {
			l.write(Stderr, []byte(w), now)
		}
		l.close()
		var got []string
		for _, e := range readLog(t, path) {
			got = append(got, e.Log)
			if e.Stream != "stderr" {
				t.Errorf("%s: stream %q", tt.name, e.Stream)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %.200q", tt.name, got)
		}
	}
}

// The form is that of Docker's json-file driver, byte for byte.
func TestLogForm(t *testing.T) {
	got := string(appendEntry(nil, "stdout", []byte("héllo \"world\"\n"), time.Date(2024, 5, 1, 12, 0, 0, 123456789, time.UTC)))
	if want := `{"log":"héllo \"world\"\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}` + "\n"; got != want {
		t.Errorf("%s", got)
	}
}

func TestLogStreamsApart(t *testing.T) {
	l, path := newTestLog(t, 1<<20, 2)
	now := time.Now()
	l.write(Stdout, []byte("out"), now)
	l.write(Stderr, []byte("err\n"), now)
	l.write(Stdout, []byte("put\n"), now)
	l.close()
	if e := readLog(t, path); len(e) != 2 || e[0].Log != "err\n" || e[1].Log != "output\n" {
		t.Errorf("%+v", e)
	}
}

func TestLogRotation(t *testing.T) {
	for _, files := range []int{1, 2, 4} {
		l, path := newTestLog(t, 4096, files)
		for i := range 1000 {
			l.write(Stdout, []byte(strings.Repeat("x", i%50)+"\n"), time.Now())
		}
		l.close()
		found, _ := filepath.Glob(path + "*")
		if len(found) != files {
			t.Errorf("%d files wanted, found %q", files, found)
		}
		for _, f := range found {
			if info, _ := os.Stat(f); info.Size() > 4096 {
				t.Errorf("%s has %d bytes", f, info.Size())
			}
			readLog(t, f) // each file holds whole entries
		}
		if l.problem() != "" {
			t.Error(l.problem())
		}
	}
}

// A full disk loses lines, not the sandbox, and says so.
func TestLogFull(t *testing.T) {
	l, _ := newTestLog(t, 1<<20, 2)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.file.Close()
	l.file = full
	l.write(Stdout, []byte("lost\n"), time.Now())
	if p := l.problem(); !strings.Contains(p, "no space left") {
		t.Errorf("problem %q", p)
	}
	l.close()
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\x00\x7f", "h\u00e9\u2028\U0001f600", "\xff\xc3", "\xed\xa0\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got string
		b := append(appendJSON([]byte{'"'}, text), '"')
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v: %q of %q", err, b, text)
		}
		if want := string(bytes.ToValidUTF8(text, nil)); utf8.Valid(text) && got != want {
			t.Fatalf("%q became %q", text, got)
		}
		var std string
		ref, _ := json.Marshal(string(text))
		json.Unmarshal(ref, &std)
		if got != std {
			t.Fatalf("%q became %q, encoding/json makes it %q", text, got, std)
		}
	})
}
