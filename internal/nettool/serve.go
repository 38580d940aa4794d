package nettool

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"sync"
	"time"
)

// idle is how long a client may say nothing.
const idle = 30 * time.Second

func serveTool(ctx context.Context, addr string, out io.Writer) error {
	if addr == "" {
		addr = ":" + DefaultPort
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		_ = ln.Close()
		return err
	}
	fmt.Fprintf(out, "serving on %s\n", ln.Addr())
	return Serve(ctx, ln, udp, out)
}

// Serve answers transfers on ln and counts datagrams on udp, which may be nil,
// until ctx ends. It closes both and waits for its goroutines: one per
// connection, one for udp.
func Serve(ctx context.Context, ln net.Listener, udp net.PacketConn, out io.Writer) error {
	s := &server{out: out}
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	defer closeWith(ctx, ln)()
	defer ln.Close()
	if udp != nil {
		s.wg.Go(func() { s.count(udp) })
		context.AfterFunc(ctx, func() { _ = udp.Close() })
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		s.wg.Go(func() {
			defer closeWith(ctx, conn)()
			defer conn.Close()
			if err := s.serve(conn); err != nil {
				s.say("%s: %v", conn.RemoteAddr(), err)
			}
		})
	}
}

type server struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	out io.Writer
	// The newest UDP session and what it brought.
	session uint64
	got     Answer
}

func (s *server) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

var errRequest = errors.New("not a request of weft tool send")

// serve answers one request.
func (s *server) serve(conn net.Conn) error {
	head := make([]byte, requestLen)
	_ = conn.SetDeadline(time.Now().Add(idle))
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	if string(head[:4]) != magic {
		return errRequest
	}
	arg := binary.BigEndian.Uint64(head[8:])
	var a Answer
	start := time.Now()
	switch head[4] {
	case modeUDP:
		a = s.udp(arg)
	case modeHash, modeCount:
		var err error
		if a, err = receive(conn, arg, head[4] == modeHash); err != nil {
			return err
		}
	default:
		return errRequest
	}
	if _, err := conn.Write(a.encode()); err != nil {
		return err
	}
	if head[4] != modeUDP {
		t := Transfer{Bytes: a.Bytes, Took: time.Since(start), Sum: a.Sum}
		s.say("%s: %s", conn.RemoteAddr(), t.String())
	}
	return nil
}

// receive reads n bytes and sums them up.
func receive(conn net.Conn, n uint64, verify bool) (a Answer, err error) {
	var sum hash.Hash
	if verify {
		sum = sha256.New()
	}
	buf := make([]byte, block)
	for a.Bytes < n {
		_ = conn.SetDeadline(time.Now().Add(idle))
		k, err := conn.Read(buf[:min(n-a.Bytes, block)])
		if verify {
			sum.Write(buf[:k])
		}
		a.Bytes += uint64(k)
		if err != nil && a.Bytes < n {
			return a, fmt.Errorf("after %d of %d bytes: %w", a.Bytes, n, err)
		}
	}
	if verify {
		sum.Sum(a.Sum[:0])
	}
	return a, nil
}

// count counts datagrams until udp is closed.
func (s *server) count(udp net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, _, err := udp.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 {
			continue
		}
		session := binary.BigEndian.Uint64(buf)
		s.mu.Lock()
		if session != s.session {
			s.session, s.got = session, Answer{}
		}
		s.got.Datagrams++
		s.got.Bytes += uint64(n)
		s.mu.Unlock()
	}
}

// udp returns what a session brought.
func (s *server) udp(session uint64) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session != s.session {
		return Answer{}
	}
	return s.got
}
