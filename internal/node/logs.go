package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Theory of operation: reading logs
//
// The agent writes the log and rotates it: NAME becomes NAME.1. A reader begins
// with NAME.1 and goes on with NAME; at its end it looks whether NAME is still
// the file it reads, and when not, finishes the old one and opens the new. A
// follower at the end of everything looks again every logPoll until the run that
// was under way has ended and its last line was read.
//
// One that does not follow reads what was there when it was asked for, as Docker's
// does: both files are opened then, and NAME is read to the length it had.
//
// Output the agent could not write is missing without a trace in the files: it
// tells when it is asked and when it ends, and the log ends with that error.

const (
	logPoll = 50 * time.Millisecond
	// maxLogLine bounds one entry: 16 KiB of text, each byte escaped.
	maxLogLine = 256 << 10
	// logCheckTimeout bounds how long an agent is asked about its log.
	logCheckTimeout = 2 * time.Second
)

// SandboxLogs returns what a sandbox has written, as far as the log keeps it.
func (n *Node) SandboxLogs(ctx context.Context, ref string, o LogOptions) (LogReader, error) {
	b, err := n.findBox(ref)
	if err != nil {
		return nil, err
	}
	n.checkLog(ctx, b)
	n.mu.Lock()
	path, next, running := b.sb.LogPath, b.next, b.agent != nil
	n.mu.Unlock()
	r := &logReader{path: path, o: o, closed: make(chan struct{}), stop: n.own.stop, ctx: ctx, missing: func() string {
		n.mu.Lock()
		defer n.mu.Unlock()
		return b.sb.LogError
	}}
	if o.Follow && running {
		r.ended = next.ch
	}
	if r.ended == nil {
		if err := r.fixEnd(); err != nil {
			return nil, err
		}
	}
	r.openOld()
	if o.Tail >= 0 {
		if err := r.keepTail(o.Tail); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

type logReader struct {
	mu     sync.Mutex // held by Next; Close waits for it
	path   string
	o      LogOptions
	file   *os.File // nil before the first and between two
	fixed  bool     // the log ends with last
	last   *os.File // NAME while fixed and not yet read; nil when there was none
	size   int64    // of last, in bytes
	in     *bufio.Reader
	part   []byte // beginning of a line whose end has not come
	old    bool   // reading NAME.1
	queue  []LogLine
	ended  <-chan struct{} // nil: do not follow
	over   bool            // ended was seen: one more look, then EOF
	closed chan struct{}
	once   sync.Once
	stop   <-chan struct{}
	ctx    context.Context
	// missing says why lines may be missing, or nothing; nil: none are.
	missing func() string
}

// end is what follows the last line.
func (r *logReader) end() error {
	if r.missing != nil {
		if why := r.missing(); why != "" {
			return fmt.Errorf("output may be missing: %s", why)
		}
	}
	return io.EOF
}

// errNoEntry says that there is nothing more to read now.
var errNoEntry = errors.New("no entry")

// fixEnd makes the present end of the log the reader's.
func (r *logReader) fixEnd() error {
	r.fixed = true
	f, err := os.Open(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.last, r.size = f, st.Size()
	return nil
}

// openOld begins with the rotated file, if there is one.
func (r *logReader) openOld() {
	f, err := os.Open(r.path + ".1")
	if err != nil {
		return
	}
	if r.last != nil && sameFile(f, r.last) { // rotated since fixEnd: it is the last, not one before it
		f.Close()
		return
	}
	r.use(f, f)
	r.old = true
}

// use goes on with f, of which in is what is to be read.
func (r *logReader) use(f *os.File, in io.Reader) {
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.in, r.part = f, bufio.NewReaderSize(in, 32<<10), nil
}

// openNext goes on with NAME, and reports false when there is none.
func (r *logReader) openNext() (bool, error) {
	if r.fixed {
		f := r.last
		if f == nil {
			return false, nil
		}
		r.last = nil
		r.use(f, io.LimitReader(f, r.size))
		return true, nil
	}
	f, err := os.Open(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.use(f, f)
	return true, nil
}

func sameFile(a, b *os.File) bool {
	s, err := a.Stat()
	t, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(s, t)
}

// keepTail reads what is there and keeps the last count lines.
func (r *logReader) keepTail(count int) error {
	var ring []LogLine
	at := 0
	for {
		l, err := r.entry()
		if err == errNoEntry || err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case count == 0:
		case len(ring) < count:
			ring = append(ring, l)
		default:
			ring[at%count] = l
			at++
		}
	}
	for i := range ring {
		r.queue = append(r.queue, ring[(at+i)%len(ring)])
	}
	return nil
}

// Next returns the next line that was asked for.
func (r *logReader) Next() (LogLine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		select {
		case <-r.closed:
			return LogLine{}, os.ErrClosed
		default:
		}
		if len(r.queue) > 0 {
			l := r.queue[0]
			r.queue = r.queue[1:]
			return l, nil
		}
		l, err := r.entry()
		if err != errNoEntry {
			return l, err
		}
		if r.ended == nil || r.over {
			return LogLine{}, r.end()
		}
		r.pause()
	}
}

// pause waits until it is worth looking again.
func (r *logReader) pause() {
	t := time.NewTimer(logPoll)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ended:
		r.over = true
	case <-r.stop:
		r.over = true
	case <-r.ctx.Done():
		r.over = true
	case <-r.closed:
	}
}

// Close ends the reader; a Next under way returns.
func (r *logReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, f := range []*os.File{r.file, r.last} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	r.file, r.in, r.last = nil, nil, nil
	return err
}

// entry returns the next line that passes the filters, without waiting.
func (r *logReader) entry() (LogLine, error) {
	for {
		raw, err := r.line()
		if err != nil {
			return LogLine{}, err
		}
		l, err := parseLogLine(raw)
		if err != nil {
			return LogLine{}, fmt.Errorf("log %s is damaged: %w", r.path, err)
		}
		if !r.o.Until.IsZero() && l.Time.After(r.o.Until) {
			return LogLine{}, io.EOF
		}
		if r.wanted(&l) {
			return l, nil
		}
	}
}

func (r *logReader) wanted(l *LogLine) bool {
	if l.Stream == "stdout" && !r.o.Stdout || l.Stream == "stderr" && !r.o.Stderr {
		return false
	}
	return r.o.Since.IsZero() || !l.Time.Before(r.o.Since)
}

// line returns the next complete line of the files, errNoEntry at their end.
func (r *logReader) line() ([]byte, error) {
	for {
		if r.file == nil {
			if ok, err := r.openNext(); err != nil {
				return nil, err
			} else if !ok {
				return nil, errNoEntry
			}
		}
		chunk, err := r.in.ReadSlice('\n')
		r.part = append(r.part, chunk...)
		if len(r.part) > maxLogLine {
			return nil, fmt.Errorf("log %s is damaged: a line of more than %d bytes", r.path, maxLogLine)
		}
		switch {
		case err == nil:
			raw := r.part
			r.part = nil
			return raw, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err != io.EOF:
			return nil, err
		case !r.turn():
			return nil, errNoEntry
		}
	}
}

// turn is called at the end of a file: it reports whether there is another to
// go on with.
func (r *logReader) turn() bool {
	if !r.old {
		if r.fixed {
			return false
		}
		now, err := os.Stat(r.path)
		if err != nil {
			return false
		}
		mine, err := r.file.Stat()
		if err != nil || os.SameFile(now, mine) {
			return false
		}
		// It was rotated. What was written to it before is read already,
		// unless it grew between that read and the look: look once more.
		r.old = true
		return true
	}
	r.file.Close()
	r.file, r.old = nil, false
	return true
}

func parseLogLine(raw []byte) (LogLine, error) {
	var e struct {
		Log    string    `json:"log"`
		Stream string    `json:"stream"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal(bytes.TrimRight(raw, "\n"), &e); err != nil {
		return LogLine{}, err
	}
	return LogLine{Stream: e.Stream, Time: e.Time, Text: []byte(e.Log)}, nil
}
