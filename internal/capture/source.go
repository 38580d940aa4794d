package capture

import (
	"fmt"
	"io"
)

// A FormatError says why a capture file is refused.
type FormatError struct {
	Path   string
	Offset int64 // byte of the file the trouble starts at
	Msg    string
	Err    error // cause, may be nil
}

// Error returns path, offset and message.
func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: byte %d: %s", e.Path, e.Offset, e.Msg)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// sourceSize holds the largest thing looked at in one piece: a record of
// MaxRecord bytes with its headers.
const sourceSize = 128 << 10

// A source is a file seen through one fixed buffer. Nothing in the file decides
// how much memory is used.
type source struct {
	path       string
	r          io.Reader
	buf        []byte
	start, end int
	off        int64 // of buf[start] in the file
	err        error // from r, kept until the buffer is used up
}

// peek returns the next n bytes without taking them, fewer only at the end of
// the file. n must not exceed sourceSize.
//
// borrowed: valid until the next call of any method.
func (s *source) peek(n int) []byte {
	if s.end-s.start < n {
		s.fill(n)
	}
	return s.buf[s.start:min(s.start+n, s.end)]
}

// fill moves what is left to the front and reads until n bytes are there.
func (s *source) fill(n int) {
	copy(s.buf, s.buf[s.start:s.end])
	s.start, s.end = 0, s.end-s.start
	idle := 0
	for s.end < n && s.err == nil {
		var m int
		m, s.err = s.r.Read(s.buf[s.end:])
		s.end += m
		if idle++; m > 0 {
			idle = 0
		} else if idle > 100 && s.err == nil {
			s.err = io.ErrNoProgress
		}
	}
}

// take steps over n bytes that peek has shown.
func (s *source) take(n int) { s.start, s.off = s.start+n, s.off+int64(n) }

// skip steps over n bytes and returns how many were there.
func (s *source) skip(n int64) int64 {
	left := n
	for left > 0 {
		got := len(s.peek(int(min(left, sourceSize))))
		if got == 0 {
			break
		}
		s.take(got)
		left -= int64(got)
	}
	return n - left
}

// broken returns the error the reader beneath ended with, if it is not the end
// of the file.
func (s *source) broken() error {
	if s.err == nil || s.err == io.EOF {
		return nil
	}
	return fmt.Errorf("%s: byte %d: %w", s.path, s.off, s.err)
}

// damaged returns a FormatError at an offset, or the reading error that is the
// true cause of a short file.
func (s *source) damaged(at int64, format string, args ...any) error {
	if err := s.broken(); err != nil {
		return err
	}
	return &FormatError{Path: s.path, Offset: at, Msg: fmt.Sprintf(format, args...)}
}
