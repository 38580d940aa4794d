package sandbox

import (
	"os"
	"sync"
	"time"
)

// A stdinPipe is the writing end of the main process's standard input, or its
// terminal. Clients may write before the process has started: they wait.
type stdinPipe struct {
	ready chan struct{} // closed by open

	mu     sync.Mutex
	file   *os.File // nil: /dev/null, or closed
	tty    bool
	once   bool
	asked  bool // closing was asked for before open
	writer sync.Mutex
}

// open says where input goes; file is nil where there is none.
func (s *stdinPipe) open(file *os.File, tty, once bool) {
	s.mu.Lock()
	s.file, s.tty, s.once = file, tty, once
	asked := s.asked
	s.mu.Unlock()
	close(s.ready)
	if asked {
		s.closeWrite()
	}
}

// write passes input on and waits while the process does not read. What nobody
// can read any more is thrown away.
func (s *stdinPipe) write(data []byte, done <-chan struct{}) {
	select {
	case <-s.ready:
	case <-done:
		return
	}
	s.mu.Lock()
	file := s.file
	s.mu.Unlock()
	if file == nil {
		return
	}
	s.writer.Lock() // keeps the chunks of several clients whole
	defer s.writer.Unlock()
	file.Write(data)
}

// closeWrite ends the input when a client's has ended, unless it stays open for
// the next one. A terminal has no end of its own: its programs are told by a
// character.
func (s *stdinPipe) closeWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
	default:
		s.asked = true
		return
	}
	if s.file != nil && s.once && !s.tty {
		s.file.SetWriteDeadline(time.Now()) // frees a client that waits in write
		s.file.Close()
		s.file = nil
	}
}

// clientGone is called when a client that could write has left.
func (s *stdinPipe) clientGone() {
	s.mu.Lock()
	once := s.once
	s.mu.Unlock()
	if once {
		s.closeWrite()
	}
}
