package node

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// Theory of operation: attached streams
//
// A stream that is opened while there is no agent waits in box.streams; the next
// start binds it to the agent before the process begins, so that nothing of the
// output is missed. Until then its Next and its input wait. A start that fails and
// a removal end those that wait.

// A stream is a Stream to a main process.
type stream struct {
	o     AttachOptions
	ready chan struct{} // closed once att or err is set
	stop  chan struct{} // closed by Close
	once  sync.Once
	leave func()    // takes it out of those that wait
	past  LogReader // log to be replayed first, nil for none

	mu       sync.Mutex // guards what follows until ready is closed
	att      *sandbox.Attachment
	err      error
	endInput bool // input was closed before there was where to
}

// SandboxAttach opens the streams of a sandbox's main process, also before it is
// started. ctx bounds the opening only.
func (n *Node) SandboxAttach(ctx context.Context, ref string, o AttachOptions) (Stream, error) {
	b, err := n.findBox(ref)
	if err != nil {
		return nil, err
	}
	s := &stream{o: o, ready: make(chan struct{}), stop: make(chan struct{})}
	s.leave = func() {
		n.mu.Lock()
		delete(b.streams, s)
		n.mu.Unlock()
	}
	// The agent is lent before it is looked at: while it is nil, a start has yet
	// to collect those who wait.
	a, done := n.lend(b)
	defer done()
	n.mu.Lock()
	sb := copySandbox(&b.sb)
	if a == nil {
		a = b.agent
	}
	switch {
	case sb.Spec.Foreign != nil:
		n.mu.Unlock()
		return nil, own(&sb, "attached to", "it has no process of weft's")
	case b.removing:
		n.mu.Unlock()
		return nil, cnm.Errorf(cnm.Conflict, "container %s is marked for removal and cannot be attached to", sb.Spec.Name)
	case a == nil:
		b.streams[s] = struct{}{}
	}
	n.mu.Unlock()
	if a != nil {
		if err := s.bind(ctx, a); err != nil {
			return nil, cnm.Errorf(cnm.Conflict, "attach to %s: %w", sb.Spec.Name, err)
		}
	}
	if o.Logs {
		s.past, err = n.SandboxLogs(ctx, sb.ID, LogOptions{Tail: -1, Stdout: o.Stdout, Stderr: o.Stderr})
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	n.emitSandbox("attach", &sb)
	return s, nil
}

// bindStreams attaches those who wait for b's start.
func (n *Node) bindStreams(ctx context.Context, b *box, a *sandbox.Agent) error {
	n.mu.Lock()
	waiting := b.streams
	b.streams = make(map[*stream]struct{})
	n.mu.Unlock()
	var failed error
	for s := range waiting {
		if failed == nil {
			failed = s.bind(ctx, a)
		} else {
			s.set(nil, io.EOF)
		}
	}
	return failed
}

// endStreams ends those who wait for a start that will not come.
func (n *Node) endStreams(b *box) {
	n.mu.Lock()
	waiting := b.streams
	b.streams = make(map[*stream]struct{})
	n.mu.Unlock()
	for s := range waiting {
		s.set(nil, io.EOF)
	}
}

// closeStreams ends all that wait, when the node closes.
func (n *Node) closeStreams() {
	n.mu.Lock()
	boxes := make([]*box, 0, len(n.boxes))
	for _, b := range n.boxes {
		boxes = append(boxes, b)
	}
	n.mu.Unlock()
	for _, b := range boxes {
		n.endStreams(b)
	}
}

// bind connects the stream to an agent.
func (s *stream) bind(ctx context.Context, a *sandbox.Agent) error {
	select {
	case <-s.stop:
		return nil
	default:
	}
	att, err := a.Attach(ctx, sandbox.AttachOptions{Stdin: s.o.Stdin})
	s.set(att, err)
	if err != nil {
		return err
	}
	select {
	case <-s.stop: // closed meanwhile, before it could know of att
		att.Close()
	default:
	}
	return nil
}

func (s *stream) set(att *sandbox.Attachment, err error) {
	s.mu.Lock()
	s.att, s.err = att, err
	endInput := s.endInput
	close(s.ready)
	s.mu.Unlock()
	if att != nil && endInput {
		att.CloseWrite()
	}
}

// wait returns the attachment once there is one.
func (s *stream) wait() (*sandbox.Attachment, error) {
	select {
	case <-s.ready:
		return s.att, s.err
	case <-s.stop:
		return nil, os.ErrClosed
	}
}

// Next returns the next piece of output that was asked for.
func (s *stream) Next() (fd int, data []byte, err error) {
	if s.past != nil {
		l, err := s.past.Next()
		if err == nil {
			fd = sandbox.Stdout
			if l.Stream == "stderr" {
				fd = sandbox.Stderr
			}
			return fd, l.Text, nil
		}
		s.past.Close()
		s.past = nil
	}
	att, err := s.wait()
	if err != nil {
		return 0, nil, err
	}
	for {
		fd, data, err = att.Next()
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, os.ErrClosed
		case err != nil:
			return 0, nil, err
		case fd == sandbox.Stdout && s.o.Stdout, fd == sandbox.Stderr && s.o.Stderr:
			return fd, data, nil
		}
	}
}

// Close detaches.
func (s *stream) Close() error {
	s.once.Do(func() {
		close(s.stop)
		s.leave()
	})
	select {
	case <-s.ready:
		if s.att != nil {
			return s.att.Close()
		}
	default:
	}
	return nil
}

// Stdin returns the writing end of the process's input.
func (s *stream) Stdin() io.WriteCloser { return streamInput{s} }

type streamInput struct{ s *stream }

var errNoInput = errors.New("standard input was not attached")

// Write gives the process input; it waits for a process that was not started yet.
func (i streamInput) Write(p []byte) (int, error) {
	if !i.s.o.Stdin {
		return 0, errNoInput
	}
	att, err := i.s.wait()
	if err != nil {
		return 0, err
	}
	return att.Write(p)
}

// Close ends the process's input.
func (i streamInput) Close() error {
	s := i.s
	if !s.o.Stdin {
		return nil
	}
	s.mu.Lock()
	att := s.att
	s.endInput = true
	s.mu.Unlock()
	if att == nil {
		return nil // set does it
	}
	return att.CloseWrite()
}
