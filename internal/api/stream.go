package api

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types"

	"weft/internal/node"
)

// A muxWriter frames output in Docker's multiplexed form, or not at all for a
// terminal:
//
//	| stream (1 stdout, 2 stderr) | 0 | 0 | 0 | length, 4 bytes big endian | bytes |
type muxWriter struct {
	w   io.Writer
	raw bool
	buf []byte // one frame, so that it leaves in one write
}

// write sends one piece of output that came from fd 1 or 2.
func (m *muxWriter) write(fd int, data []byte) error {
	if m.raw {
		_, err := m.w.Write(data)
		return err
	}
	m.buf = append(m.buf[:0], byte(fd), 0, 0, 0)
	m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(len(data)))
	m.buf = append(m.buf, data...)
	_, err := m.w.Write(m.buf)
	return err
}

// fail sends an error where headers are long gone.
func (m *muxWriter) fail(err error) {
	if !m.raw {
		_ = m.write(int(stdcopy.Systemerr), []byte(err.Error()))
	}
}

// mediaType names the framing of a stream, as far as the client's version
// knows a name for it.
func mediaType(v version, raw bool) string {
	if !raw && v >= multiplexed {
		return types.MediaTypeMultiplexedStream
	}
	return types.MediaTypeRawStream
}

// A conn is a hijacked connection: bytes both ways, no HTTP any more.
type conn struct {
	net.Conn
	in io.Reader // what net/http had already read, then the connection
}

// hijack takes the connection out of net/http and answers the request, with
// 101 if the client asked for an upgrade and 200 otherwise. The caller ends
// with release.
func (s *Server) hijack(w http.ResponseWriter, r *http.Request, raw bool) (*conn, error) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.busy.Add(1)
	s.mu.Unlock()
	if s.base.Err() != nil { // Shutdown may have looked at conns before
		_ = c.Close()
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + types.MediaTypeRawStream + "\r\n\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + mediaType(versionOf(r.Context()), raw) +
			"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	_, _ = io.WriteString(c, head) // a client that has gone is seen by the first write of output
	return &conn{Conn: c, in: rw.Reader}, nil
}

// release forgets a hijacked connection that is closed and has no goroutine.
func (s *Server) release(c *conn) {
	s.mu.Lock()
	delete(s.conns, c.Conn)
	s.mu.Unlock()
	s.busy.Done()
}

// hangUp closes the connection. Closing for writing first lets a client read
// what is under way.
func (c *conn) hangUp() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.Close()
}

// pump joins a hijacked connection with a process: output until the process or
// the client ends, input beside it in a goroutine that ends with the
// connection. It closes and releases both.
//
// A client that sends no input and has gone is noticed at the next output: its
// end of file may as well be a half-closed connection that still listens.
func (s *Server) pump(c *conn, st node.Stream, o pumpOptions) {
	defer context.AfterFunc(s.base, func() { _ = st.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		input(c, st, o)
	}()
	err := output(c, st, o)
	if err != nil {
		s.log.Debug("stream broke off", "error", err)
	}
	c.hangUp()
	if err != nil && o.outlive {
		drain(st)
	}
	_ = st.Close()
	<-done
	s.release(c)
}

// output copies what the process says to the client until either ends.
func output(c *conn, st node.Stream, o pumpOptions) error {
	out := muxWriter{w: c, raw: o.raw}
	for {
		fd, data, err := st.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case fd == 1 && !o.stdout, fd == 2 && !o.stderr:
			continue
		}
		if err := out.write(fd, data); err != nil {
			return err
		}
	}
}

// drain reads what a process says to nobody, until it ends.
func drain(st node.Stream) {
	for {
		if _, _, err := st.Next(); err != nil {
			return
		}
	}
}

// pumpOptions says what of a process a client wants.
type pumpOptions struct {
	raw                   bool // a terminal: no framing
	stdin, stdout, stderr bool
	keys                  []byte // typing these detaches; empty for none
	outlive               bool   // a process that says something to a closed stream dies of it, but shall not
}

// input copies what the client sends to the process. The client's end of file
// is the process's, but not on a terminal, which others may be at as well. A
// client that broke off, or typed the detach keys, ends the whole stream.
func input(c *conn, st node.Stream, o pumpOptions) {
	in := c.in
	if len(o.keys) > 0 {
		in = &detachReader{r: in, keys: o.keys}
	}
	buf := make([]byte, 32<<10)
	open := o.stdin
	for {
		n, err := in.Read(buf)
		if n > 0 && open {
			_, werr := st.Stdin().Write(buf[:n])
			open = werr == nil // a process may close its input and go on talking
		}
		if err == nil {
			continue
		}
		if o.stdin && !o.raw {
			_ = st.Stdin().Close()
		}
		switch {
		case err == io.EOF:
		case o.outlive:
			c.hangUp() // the next output finds out
		default:
			_ = st.Close()
		}
		return
	}
}
