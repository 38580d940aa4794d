package api

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseKeys(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string
		ok   bool
	}{
		{"", "\x10\x11", true},
		{"ctrl-p,ctrl-q", "\x10\x11", true},
		{"a", "a", true},
		{"ctrl-@,ctrl-[,ctrl-_", "\x00\x1b\x1f", true},
		{"ctrl-\\,x", "\x1cx", true},
		{"ctrl-1", "", false},
		{"ctrl-", "", false},
		{"ab", "", false},
		{"a,,b", "", false},
		{"é", "", false},
	} {
		got, err := parseKeys(c.in)
		if (err == nil) != c.ok || c.ok && string(got) != c.want {
			t.Errorf("%q: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestDetachReader(t *testing.T) {
	for _, c := range []struct {
		name, keys, in, out string
		detached            bool
	}{
		{"nothing", "pq", "", "", false},
		{"no keys", "pq", "hello", "hello", false},
		{"keys alone", "pq", "pq", "", true},
		{"keys after text", "pq", "hello pqmore", "hello ", true},
		{"first key only", "pq", "hp", "hp", false},
		{"broken off", "pq", "pxpq", "px", true},
		{"first key twice", "pq", "ppq", "p", true},
		{"suffix is a beginning", "aab", "aaab", "a", true},
		{"overlap in the middle", "abac", "ababac", "ab", true},
		{"never", "abac", "abababa", "abababa", false},
		{"one key", "x", "abx", "ab", true},
	} {
		for _, way := range []struct {
			name string
			wrap func(io.Reader) io.Reader
		}{{"whole", func(r io.Reader) io.Reader { return r }}, {"byte by byte", iotest.OneByteReader}, {"error with data", iotest.DataErrReader}} {
			t.Run(c.name+"/"+way.name, func(t *testing.T) {
				out, err := io.ReadAll(&detachReader{r: way.wrap(strings.NewReader(c.in)), keys: []byte(c.keys)})
				if string(out) != c.out || errors.Is(err, errDetached) != c.detached || err != nil && !c.detached {
					t.Errorf("%q, %v; want %q, detached %v", out, err, c.out, c.detached)
				}
			})
		}
	}
}

// The reader must agree with a search in the whole text.
func FuzzDetachReader(f *testing.F) {
	f.Add([]byte("pq"), []byte("hello pq"), 3)
	f.Add([]byte("aab"), []byte("aaab"), 1)
	f.Fuzz(func(t *testing.T, keys, in []byte, _ int) {
		if len(keys) == 0 || len(keys) > 16 || len(in) > 1<<12 {
			return
		}
		want, _, detached := bytes.Cut(in, keys)
		out, err := io.ReadAll(&detachReader{r: iotest.OneByteReader(bytes.NewReader(in)), keys: keys})
		if !bytes.Equal(out, want) || errors.Is(err, errDetached) != detached {
			t.Fatalf("keys %q in %q: %q, %v; want %q, %v", keys, in, out, err, want, detached)
		}
	})
}
