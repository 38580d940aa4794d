package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Theory of operation
//
// The log holds one JSON object per line of output, in the form of Docker's
// json-file driver:
//
//	{"log":"text\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}
//
// A line is written when its end has come, or 16 KiB of it, or the end of the
// output; a part without its end has no "\n". Each read of a pipe becomes one
// write and one time stamp. When the file has reached its bound it is renamed to
// NAME.1, and so on. A write that fails (a full disk) loses these lines only, is
// reported in State.LogError, and does not hold up the process.

const maxLine = 16 << 10

type logFile struct {
	dir   *os.File // also valid after the root was changed
	name  string
	limit int64
	files int

	mu      sync.Mutex
	file    *os.File
	size    int64
	partial [3][]byte // by stream: a line whose end has not come
	buf     []byte
	lastErr error
	lost    int // writes that failed
}

var streamNames = [...]string{1: "stdout", 2: "stderr"}

// openLog begins or continues the log at path, whose directory is dir.
func openLog(dir *os.File, path string, limit int64, files int) (*logFile, error) {
	l := &logFile{dir: dir, name: filepath.Base(path), limit: limit, files: files}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("log %s: %w", path, err)
	}
	return l, nil
}

func (l *logFile) open() error {
	fd, err := unix.Openat(int(l.dir.Fd()), l.name, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	l.file, l.size = os.NewFile(uintptr(fd), l.name), st.Size
	return nil
}

// write logs what was read from a stream.
func (l *logFile) write(stream int, data []byte, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = l.buf[:0]
	stamp := now.UTC()
	for len(data) > 0 {
		n, ends := lineEnd(data, maxLine-len(l.partial[stream]))
		line := data[:n]
		data = data[n:]
		if p := l.partial[stream]; len(p) > 0 || !ends {
			p = append(p, line...)
			l.partial[stream] = p
			if !ends {
				continue // data is used up
			}
			line = p
			l.partial[stream] = p[:0]
		}
		l.buf = appendEntry(l.buf, streamNames[stream], line, stamp)
		if len(l.buf) >= 64<<10 {
			l.flushLocked()
		}
	}
	l.flushLocked()
}

// lineEnd returns how many bytes of data belong to the current entry, and whether
// they complete it; room is what the entry may still take.
func lineEnd(data []byte, room int) (n int, ends bool) {
	for i, c := range data {
		if c == '\n' {
			return i + 1, true
		}
		if i+1 == room {
			return i + 1, true
		}
	}
	return len(data), false
}

// appendEntry appends one line of the log. Bytes that are not UTF-8 become U+FFFD.
func appendEntry(b []byte, stream string, text []byte, stamp time.Time) []byte {
	b = append(b, `{"log":"`...)
	b = appendJSON(b, text)
	b = append(b, `","stream":"`...)
	b = append(b, stream...)
	b = append(b, `","time":"`...)
	b = stamp.AppendFormat(b, time.RFC3339Nano)
	return append(b, "\"}\n"...)
}

func (l *logFile) flushLocked() {
	if l.file == nil || len(l.buf) == 0 {
		return
	}
	if l.size > 0 && l.size+int64(len(l.buf)) > l.limit {
		if err := l.rotateLocked(); err != nil {
			l.lastErr = err
		}
	}
	n, err := l.file.Write(l.buf)
	l.size += int64(n)
	if err != nil {
		l.lastErr = err
		l.lost++
		// Half an entry would spoil the next: cut it off.
		if unix.Ftruncate(int(l.file.Fd()), l.size-int64(n)) == nil {
			l.size -= int64(n)
		}
	}
	l.buf = l.buf[:0]
}

// rotateLocked renames the files, NAME to NAME.1 and so on, and begins a new one.
func (l *logFile) rotateLocked() error {
	dir := int(l.dir.Fd())
	name := func(i int) string {
		if i == 0 {
			return l.name
		}
		return fmt.Sprintf("%s.%d", l.name, i)
	}
	if l.files == 1 {
		l.size = 0
		return unix.Ftruncate(int(l.file.Fd()), 0)
	}
	for i := l.files - 2; i >= 0; i-- {
		if err := unix.Renameat(dir, name(i), dir, name(i+1)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old
		return err
	}
	return old.Close()
}

// close writes what has no line end yet and closes the file.
func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UTC()
	for stream, p := range l.partial {
		if len(p) > 0 {
			l.buf = appendEntry(l.buf, streamNames[stream], p, now)
			l.partial[stream] = nil
		}
	}
	l.flushLocked()
	l.file.Close()
	l.file = nil
}

// problem says why output is missing or the log outgrows its bound, or nothing.
func (l *logFile) problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lastErr == nil {
		return ""
	}
	if l.lost == 0 {
		return fmt.Sprintf("log %s cannot be rotated: %v", l.name, l.lastErr)
	}
	return fmt.Sprintf("log %s: %d writes failed, the last: %v", l.name, l.lost, l.lastErr)
}
