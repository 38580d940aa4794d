package api

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"weft/internal/cnm"
)

// errDetached ends an input in which the detach keys were typed.
var errDetached = errors.New("detached")

// parseKeys reads detach keys as Docker writes them, such as "ctrl-p,ctrl-q":
// single characters, or ctrl- with a letter or one of @[\]^_. Empty means
// Docker's own.
func parseKeys(s string) ([]byte, error) {
	if s == "" {
		return []byte{'p' & 0x1f, 'q' & 0x1f}, nil
	}
	var keys []byte
	for _, k := range strings.Split(s, ",") {
		c, ctrl := strings.CutPrefix(k, "ctrl-")
		switch {
		case len(c) != 1 || c[0] >= 0x80:
			return nil, cnm.Errorf(cnm.Invalid, "invalid detach keys (%s) provided: unknown key %q", clip(s), clip(k))
		case !ctrl:
			keys = append(keys, c[0])
		case c[0] >= 'a' && c[0] <= 'z' || c[0] >= '@' && c[0] <= '_':
			keys = append(keys, c[0]&0x1f)
		default:
			return nil, cnm.Errorf(cnm.Invalid, "invalid detach keys (%s) provided: unknown key %q", clip(s), clip(k))
		}
	}
	return keys, nil
}

// A detachReader passes a terminal's input on until the keys occur in it. The
// beginning of the keys is held back until it is clear that they do not
// follow; the keys themselves are never passed on.
type detachReader struct {
	r     io.Reader
	keys  []byte
	found int    // keys seen so far
	ready []byte // read, searched, not yet passed on
	err   error  // after ready
	buf   [4096]byte
}

// Read implements io.Reader.
func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.ready) == 0 && d.err == nil {
		n, err := d.r.Read(d.buf[:])
		d.err = err
		d.search(d.buf[:n])
		if d.err == io.EOF {
			d.ready = append(d.ready, d.keys[:d.found]...)
			d.found = 0
		}
	}
	if len(d.ready) == 0 {
		return 0, d.err
	}
	n := copy(p, d.ready)
	d.ready = d.ready[n:]
	return n, nil
}

// search moves what is not keys to ready.
func (d *detachReader) search(in []byte) {
	d.ready = d.ready[:0]
	for _, c := range in {
		for d.found > 0 && c != d.keys[d.found] {
			d.giveBack()
		}
		if c != d.keys[d.found] {
			d.ready = append(d.ready, c)
			continue
		}
		if d.found++; d.found == len(d.keys) {
			d.err = errDetached
			return
		}
	}
}

// giveBack shortens the match to its longest suffix that the keys begin with,
// and passes on what is in front of it.
func (d *detachReader) giveBack() {
	for n := d.found - 1; ; n-- {
		if bytes.Equal(d.keys[:n], d.keys[d.found-n:d.found]) {
			d.ready = append(d.ready, d.keys[:d.found-n]...)
			d.found = n
			return
		}
	}
}
