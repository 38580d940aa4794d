package sandbox

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Theory of operation
//
// Each output pipe, or the terminal, has one goroutine that reads it; what it
// reads goes to the log and then to every subscriber. A subscriber has a queue of
// clientBuffer bytes and a goroutine that writes it to the client. When the queue
// is full, the reading goroutine waits, and so in the end the process, as if it
// wrote to the client's pipe; a lossy subscriber is dropped instead. A client that
// goes away frees whoever waits for it. Nothing is lost at the end: the processes
// are dead when drain is called, so the pipes end by themselves, and what they
// still hold is queued without waiting for anybody: the end of a sandbox does not
// depend on its clients.
//
// On an attached connection, after the reply to the request, both directions
// carry
//
//	0        1               5
//	+--------+---------------+-----------------+
//	| stream | length (BE)   | length bytes    |
//	+--------+---------------+-----------------+
//
// stream 0 is standard input, and a length of 0 its end; 1 and 2 are output; end
// says that there is no more, lagging that the client was dropped.
const (
	streamHeader  = 5
	streamEnd     = 0xff
	streamLagging = 0xfe

	clientBuffer = 256 << 10
	// drainBuffer is its bound once the processes are dead: two pipes of the
	// largest size the kernel gives an ordinary user, twice.
	drainBuffer = 4 << 20
	chunkSize   = 32 << 10
	// drainTime bounds the reading after the last process of the namespace died:
	// a process outside can have been given the pipe.
	drainTime = 2 * time.Second
	// lingerTime is how long an attached client may read nothing before what is
	// left is thrown away and the agent ends.
	lingerTime = 10 * time.Minute
)

type hub struct {
	log     *logFile
	readers sync.WaitGroup
	writers sync.WaitGroup

	mu       sync.Mutex
	files    []*os.File
	subs     map[*subscriber]struct{}
	draining bool // the processes are dead
	ended    bool
}

type subscriber struct {
	conn  *net.UnixConn
	lossy bool

	mu       sync.Mutex
	change   sync.Cond
	queue    net.Buffers // the chunks are other subscribers' too: read-only
	queued   int         // bytes
	draining bool        // nobody is held up any more
	ending   bool        // nothing more comes
	lagging  bool        // dropped for being slow
	gone     bool        // the client is no longer there
}

// copyFrom reads one stream to its end in a goroutine of its own.
func (h *hub) copyFrom(f *os.File, stream int) {
	h.mu.Lock()
	h.files = append(h.files, f)
	h.mu.Unlock()
	h.readers.Go(func() {
		defer f.Close()
		buf := make([]byte, chunkSize)
		for {
			n, err := f.Read(buf)
			if n > 0 {
				h.log.write(stream, buf[:n], time.Now())
				h.publish(stream, buf[:n])
			}
			if err != nil {
				return // the end; of a terminal it is EIO
			}
		}
	})
}

func (h *hub) publish(stream int, data []byte) {
	h.mu.Lock()
	subs := make([]*subscriber, 0, len(h.subs))
	for s := range h.subs {
		subs = append(subs, s)
	}
	h.mu.Unlock()
	if len(subs) == 0 {
		return
	}
	chunk := streamChunk(stream, data)
	for _, s := range subs {
		s.push(chunk)
	}
}

func streamChunk(stream int, data []byte) []byte {
	b := make([]byte, streamHeader, streamHeader+len(data))
	b[0] = byte(stream)
	binary.BigEndian.PutUint32(b[1:], uint32(len(data)))
	return append(b, data...)
}

// drain returns when everything written is in the log and in the queues.
func (h *hub) drain() {
	h.mu.Lock()
	for _, f := range h.files {
		f.SetReadDeadline(time.Now().Add(drainTime))
	}
	h.draining = true
	for s := range h.subs {
		s.drain()
	}
	h.mu.Unlock()
	h.readers.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for s := range h.subs {
		s.end()
	}
}

// subscribe queues the output from now on for a client; serve begins to send it.
func (h *hub) subscribe(conn *net.UnixConn, lossy bool) *subscriber {
	s := &subscriber{conn: conn, lossy: lossy}
	s.change.L = &s.mu
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = make(map[*subscriber]struct{})
	}
	h.subs[s] = struct{}{}
	s.draining, s.ending = h.draining, h.ended
	return s
}

// serve sends a subscriber its output, by a goroutine of its own.
func (h *hub) serve(s *subscriber) {
	h.writers.Go(func() {
		defer h.unsubscribe(s)
		s.write()
	})
}

func (h *hub) unsubscribe(s *subscriber) {
	s.leave()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
}

// push queues a chunk, which stays as it is; see the theory of operation.
func (s *subscriber) push(chunk []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.full() && !s.gone {
		if s.lossy || s.draining {
			s.lagging = true
			s.change.Broadcast()
			return
		}
		s.change.Wait()
	}
	if s.gone || s.lagging {
		return
	}
	s.queue = append(s.queue, chunk)
	s.queued += len(chunk)
	s.change.Broadcast()
}

func (s *subscriber) full() bool {
	if s.draining && !s.lossy {
		return s.queued > drainBuffer
	}
	return s.queued > clientBuffer
}

// drain frees whoever waits in push: from now on the queue takes more instead.
func (s *subscriber) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	s.change.Broadcast()
}

func (s *subscriber) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	s.change.Broadcast()
}

// leave frees whoever waits for this client.
func (s *subscriber) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	s.queue, s.queued = nil, 0
	s.change.Broadcast()
}

// take returns what is queued, waiting for some; the last bytes say that it ends.
func (s *subscriber) take() (buffers net.Buffers, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.ending && !s.lagging && !s.gone {
		s.change.Wait()
	}
	if s.gone {
		return nil, true
	}
	buffers = s.queue
	s.queue, s.queued = nil, 0
	s.change.Broadcast()
	switch {
	case s.lagging:
		return append(buffers, streamChunk(streamLagging, nil)), true
	case s.ending:
		return append(buffers, streamChunk(streamEnd, nil)), true
	}
	return buffers, false
}

func (s *subscriber) write() {
	for {
		buffers, last := s.take()
		s.conn.SetWriteDeadline(time.Now().Add(lingerTime))
		if _, err := buffers.WriteTo(s.conn); err != nil || last {
			return
		}
	}
}

// readChunk reads one chunk into buf, which is grown up to chunkSize.
func readChunk(r io.Reader, buf []byte) (stream int, data []byte, err error) {
	var header [streamHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, buf, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > chunkSize {
		return 0, buf, errors.New("stream chunk is too long")
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n, chunkSize)
	}
	_, err = io.ReadFull(r, buf[:n])
	return int(header[0]), buf[:n], err
}
