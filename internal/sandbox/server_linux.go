package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Theory of operation
//
// A connection carries requests one after the other; each is answered before the
// next is read. wait and attach last until the sandbox ends or the client goes.
// At most maxConns are served at a time, further ones are refused. What a
// client sends can end its connection, never the agent.

const (
	maxConns   = 256
	quickDrain = 200 * time.Millisecond
)

type server struct {
	agent    *agent
	listener *net.UnixListener
	wg       sync.WaitGroup

	mu       sync.Mutex
	conns    map[*net.UnixConn]struct{}
	finished bool
}

func newServer(a *agent, l *net.UnixListener) *server {
	return &server{agent: a, listener: l, conns: make(map[*net.UnixConn]struct{})}
}

// accept serves connections until the listener is closed.
func (s *server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors left: those in use end some time
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		finished, full := s.finished, len(s.conns) >= maxConns
		if !finished && !full {
			s.conns[conn] = struct{}{}
			s.wg.Add(1)
		}
		s.mu.Unlock()
		if finished { // as if nobody listened any more: the status is on disk
			conn.Close()
			continue
		}
		if full { // the answer fits into the socket's buffer
			s.answer(conn, failure(fmt.Errorf("the agent has %d connections already", maxConns)), nil)
			conn.Close()
			continue
		}
		go s.serve(conn)
	}
}

// finish answers what was asked, lets attached clients read to the end, and
// returns when no connection is left.
func (s *server) finish() {
	s.listener.Close()
	s.mu.Lock()
	s.finished = true
	for conn := range s.conns {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	s.wg.Wait()
	drained := make(chan struct{})
	go func() {
		s.agent.hub.writers.Wait()
		close(drained)
	}()
	select {
	case <-drained:
		return
	case <-time.After(quickDrain):
	}
	// A client takes its time with the rest of the output. The network need not
	// wait for it.
	s.agent.removeInterfaces()
	<-drained
}

func (s *server) serve(conn *net.UnixConn) {
	defer s.wg.Done()
	attached := false
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		if !attached {
			conn.Close()
		}
	}()
	for {
		var q request
		fds, err := receive(conn, &q)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
				s.answer(conn, failure(err), nil)
			}
			return
		}
		switch q.Op {
		case opAttach:
			attached = s.attach(conn, q)
			closeFDs(fds)
			return
		case opWait, opExecWait:
			closeFDs(fds)
			s.wait(conn, q)
			return
		}
		files := asFiles(fds)
		err = s.dispatch(conn, q, files)
		closeFiles(files)
		if err != nil {
			return
		}
	}
}

// answer sends a reply and gives a client that does not read ten seconds.
func (s *server) answer(conn *net.UnixConn, r reply, files []*os.File) error {
	conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return send(conn, r, files)
}

// dispatch carries out a request that is answered at once. The error is that of
// the connection.
func (s *server) dispatch(conn *net.UnixConn, q request, passed []*os.File) error {
	a := s.agent
	var r reply
	var files []*os.File
	var err error
	switch q.Op {
	case opState:
		state := a.state()
		r.State = &state
	case opStart:
		err = a.start(q.Process)
	case opExec:
		r, files, err = a.exec(q.Process, passed)
	case opSignal:
		err = a.signalProcess(q.Exec, syscall.Signal(q.Signal))
	case opResize:
		err = a.resize(q.Rows, q.Cols)
	case opAdd:
		r.Name, files, err = a.addInterface(q.Interface)
	case opRemove:
		err = a.removeInterface(q.Name)
	case opGateway:
		err = a.defaultRoute(q.Name, q.Gateway4, q.Gateway6)
	case opMTU:
		err = a.setMTU(q.Name, q.MTU, q.Superframe)
	case opNames:
		files, err = a.names()
	case opDial:
		var f *os.File
		if f, err = a.dial(q.Network, q.Address); err == nil {
			files = []*os.File{f}
		}
	case opList:
		return s.list(conn)
	default:
		err = fmt.Errorf("unknown operation %q", q.Op)
	}
	defer closeFiles(files)
	if err != nil {
		r = failure(err)
	}
	return s.answer(conn, r, files)
}

// list answers with one message per interface and its descriptors.
func (s *server) list(conn *net.UnixConn) error {
	for _, d := range s.agent.interfaces() {
		files, err := d.Files()
		if err != nil {
			return s.answer(conn, failure(err), nil)
		}
		err = s.answer(conn, reply{Name: d.Name(), More: true}, files)
		closeFiles(files)
		if err != nil {
			return err
		}
	}
	return s.answer(conn, reply{}, nil)
}

// wait answers when a process has ended, unless the client goes first.
func (s *server) wait(conn *net.UnixConn, q request) {
	done, status := s.agent.done, func() *ExitStatus { return s.agent.state().Exit }
	if q.Op == opExecWait {
		c := s.agent.findExec(q.Exec)
		if c == nil {
			s.answer(conn, failure(fmt.Errorf("exec %d is not known", q.Exec)), nil)
			return
		}
		done, status = c.exited, func() *ExitStatus { return &c.status }
	}
	gone := make(chan struct{})
	s.wg.Go(func() { // ends with the connection, which is closed after wait
		defer close(gone)
		for {
			_, err := conn.Read(make([]byte, 1))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				<-done // finish was called: the answer is on its way
			}
			if err != nil {
				return
			}
		}
	})
	select {
	case <-done:
	case <-gone:
	}
	select {
	case <-done: // also when both were ready
		s.answer(conn, reply{Exit: status()}, nil)
	default:
	}
	conn.SetReadDeadline(time.Unix(1, 0))
}

// attach makes the connection a client of the main process's streams and reports
// whether it was taken over. It returns when the client sends nothing any more.
func (s *server) attach(conn *net.UnixConn, q request) bool {
	a := s.agent
	var o AttachOptions
	if q.Attach != nil {
		o = *q.Attach
	}
	sub := a.hub.subscribe(conn, o.Lossy)
	if err := s.answer(conn, reply{}, nil); err != nil {
		a.hub.unsubscribe(sub)
		return false
	}
	a.hub.serve(sub)
	err := s.feed(conn, o.Stdin)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true // the sandbox has ended; the client may go on reading
	}
	if o.Stdin {
		a.stdin.clientGone()
	}
	sub.leave()
	conn.Close()
	return true
}

// feed gives the main process what the client sends, until it goes.
func (s *server) feed(conn *net.UnixConn, stdin bool) error {
	var buf []byte
	for {
		_, data, err := readChunk(conn, buf)
		if err != nil {
			return err
		}
		buf = data[:0]
		switch {
		case !stdin:
		case len(data) == 0:
			s.agent.stdin.closeWrite()
		default:
			s.agent.stdin.write(data, s.agent.done)
		}
	}
}
