package cli

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseDetachKeys(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []byte
	}{
		{"", []byte{16, 17}}, {"ctrl-p,ctrl-q", []byte{16, 17}}, {"a", []byte{'a'}}, {"ctrl-@,ctrl-[,ctrl-_", []byte{0, 27, 31}},
		{"ctrl-", nil}, {"ctrl-1", nil}, {"ab", nil}, {"a,,b", nil},
	} {
		got, err := parseDetachKeys(tt.in)
		if (err != nil) != (tt.want == nil) || !bytes.Equal(got, tt.want) {
			t.Errorf("%q: %v, %v, expected %v", tt.in, got, err, tt.want)
		}
	}
}

func TestDetachReader(t *testing.T) {
	const p, q = "\x10", "\x11"
	for _, tt := range []struct {
		name, in, out string
		detached      bool
	}{
		{"plain", "abc", "abc", false},
		{"keys", "ab" + p + q + "cd", "ab", true},
		{"keys alone", p + q, "", true},
		{"half", "a" + p + "b", "a" + p + "b", false},
		{"twice the first", p + p + q, p, true},
		{"wrong order", q + p, q, false}, // the last ctrl-p is held back for good
	} {
		for speed, slow := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		} {
			d := &detachReader{r: slow(strings.NewReader(tt.in)), keys: []byte(p + q)}
			out, err := io.ReadAll(d)
			if string(out) != tt.out || errors.Is(err, errDetached) != tt.detached {
				t.Errorf("%s, %s: %q, %v, expected %q", tt.name, speed, out, err, tt.out)
			}
		}
	}
}
