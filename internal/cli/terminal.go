package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// fdOf returns a stream's descriptor, if it has one.
func fdOf(stream any) (int, bool) {
	f, ok := stream.(*os.File)
	if !ok || f == nil {
		return 0, false
	}
	return int(f.Fd()), true
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	fd, ok := fdOf(stream)
	return ok && term.IsTerminal(fd)
}

// terminalSize is the size of the first of the streams that is a terminal.
func terminalSize(streams ...any) (width, height int, ok bool) {
	for _, s := range streams {
		if fd, isFile := fdOf(s); isFile && term.IsTerminal(fd) {
			if w, h, err := term.GetSize(fd); err == nil && w > 0 && h > 0 {
				return w, h, true
			}
		}
	}
	return 0, 0, false
}

// rawTerminal switches a terminal to raw mode and returns what puts it back. On
// anything else both do nothing.
func rawTerminal(stream any) (restore func(), err error) {
	fd, ok := fdOf(stream)
	if !ok || !term.IsTerminal(fd) {
		return func() {}, nil
	}
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() { term.Restore(fd, old) }, nil
}

// defaultDetachKeys as Docker's.
const defaultDetachKeys = "ctrl-p,ctrl-q"

// errDetached: the user typed the detach keys.
var errDetached = errors.New("detached")

// parseDetachKeys turns "ctrl-p,ctrl-q" or "a,ctrl-]" into bytes.
func parseDetachKeys(s string) ([]byte, error) {
	if s == "" {
		s = defaultDetachKeys
	}
	var keys []byte
	for _, k := range strings.Split(s, ",") {
		c, isCtrl := strings.CutPrefix(k, "ctrl-")
		switch {
		case len(k) == 1:
			keys = append(keys, k[0])
		case isCtrl && len(c) == 1 && c[0] >= 'a' && c[0] <= 'z':
			keys = append(keys, c[0]-'a'+1)
		case isCtrl && len(c) == 1 && strings.Contains("@[\\]^_", c):
			keys = append(keys, c[0]-'@')
		default:
			return nil, fmt.Errorf("detach keys %q: expected keys such as a or ctrl-p, separated by commas; found %q", s, k)
		}
	}
	return keys, nil
}

// A detachReader passes bytes through until the detach keys come in a row. Keys
// that began the sequence but did not complete it are delivered late, in order.
type detachReader struct {
	r       io.Reader
	keys    []byte
	matched int // keys[:matched] were read and held back
	pending []byte
	buf     [512]byte
}

// Read returns errDetached when the keys were typed.
func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.pending) == 0 {
		n, err := d.r.Read(d.buf[:])
		detached := d.scan(d.buf[:n])
		if len(d.pending) == 0 && detached {
			return 0, errDetached
		}
		if len(d.pending) == 0 && err != nil {
			return 0, err
		}
		if detached {
			d.r = errReader{errDetached}
		}
	}
	n := copy(p, d.pending)
	d.pending = d.pending[n:]
	return n, nil
}

// scan sorts bytes into pending and held back; true when the sequence is whole.
func (d *detachReader) scan(b []byte) bool {
	for _, c := range b {
		if c != d.keys[d.matched] {
			d.pending = append(d.pending, d.keys[:d.matched]...)
			d.matched = 0
		}
		if c != d.keys[d.matched] {
			d.pending = append(d.pending, c)
			continue
		}
		if d.matched++; d.matched == len(d.keys) {
			return true
		}
	}
	return false
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }
