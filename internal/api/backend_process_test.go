package api

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"weft/internal/node"
)

// A process of the test's backend: a script of one word that says what it does.
//
//	echo WORDS   prints them and ends
//	both         prints "out" on stdout and "err" on stderr and ends with 3
//	cat          prints what it reads until the end of its input
//	sleep        waits to be killed
//	ps           prints two processes, the second being itself
//	size         prints the terminal's size whenever it changes
type process struct {
	cmd []string
	tty bool
	in  *io.PipeReader
	inW *io.PipeWriter

	mu      sync.Mutex
	cond    *sync.Cond
	out     []piece // everything ever said
	started bool
	ended   bool
	killed  chan int
	sizes   chan [2]uint16
	done    chan struct{}
	code    int // valid once done is closed
}

type piece struct {
	fd   int
	text string
}

func newProcess(cmd []string, tty bool) *process {
	p := &process{cmd: cmd, tty: tty, killed: make(chan int, 1), sizes: make(chan [2]uint16, 10), done: make(chan struct{})}
	p.cond = sync.NewCond(&p.mu)
	p.in, p.inW = io.Pipe()
	return p
}

// start runs the script; ended is told the exit code before anybody else.
func (p *process) start(ended func(int)) {
	p.mu.Lock()
	p.started = true
	p.mu.Unlock()
	go func() {
		p.code = p.script()
		_ = p.in.Close()
		ended(p.code)
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		close(p.done)
		p.cond.Broadcast()
	}()
}

// fail ends the streams of a process that could not be started.
func (p *process) fail() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *process) script() int {
	switch p.cmd[0] {
	case "echo":
		p.say(1, strings.Join(p.cmd[1:], " ")+"\n")
	case "both":
		p.say(1, "out\n")
		p.say(2, "err\n")
		return 3
	case "cat":
		return p.cat()
	case "sleep":
		return <-p.killed
	case "size":
		for {
			select {
			case s := <-p.sizes:
				p.say(1, fmt.Sprintf("%d rows %d cols\n", s[0], s[1]))
			case code := <-p.killed:
				return code
			}
		}
	case "ps":
		p.say(1, "UID        PID  CMD\nroot         1  sleep 1000\nroot         7  "+strings.Join(p.cmd, " ")+"\n")
	}
	return 0
}

func (p *process) cat() int {
	eof := make(chan struct{})
	go func() {
		defer close(eof)
		buf := make([]byte, 1024)
		for {
			n, err := p.in.Read(buf)
			if n > 0 {
				p.say(1, string(buf[:n]))
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case <-eof:
		return 0
	case code := <-p.killed:
		return code
	}
}

func (p *process) say(fd int, text string) {
	if p.tty {
		fd, text = 1, strings.ReplaceAll(text, "\n", "\r\n")
	}
	p.mu.Lock()
	p.out = append(p.out, piece{fd, text})
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *process) kill(code int) {
	select {
	case p.killed <- code:
	default:
	}
}

func (p *process) resize(rows, cols uint16) { p.sizes <- [2]uint16{rows, cols} }

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started && !p.ended
}

// attach returns a stream of what the process will say, or of all it ever said.
func (p *process) attach(all bool) *memStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &memStream{p: p}
	if !all {
		s.at = len(p.out)
	}
	return s
}

// A memStream is a place in a process's output.
type memStream struct {
	p      *process
	at     int
	closed bool
}

var _ node.Stream = (*memStream)(nil)

func (s *memStream) Stdin() io.WriteCloser { return s.p.inW }

func (s *memStream) Next() (int, []byte, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, nil, io.ErrClosedPipe
		case s.at < len(s.p.out):
			o := s.p.out[s.at]
			s.at++
			return o.fd, []byte(o.text), nil
		case s.p.ended:
			return 0, nil, io.EOF
		}
		s.p.cond.Wait()
	}
}

func (s *memStream) Close() error {
	s.p.mu.Lock()
	s.closed = true
	s.p.mu.Unlock()
	s.p.cond.Broadcast()
	return nil
}
