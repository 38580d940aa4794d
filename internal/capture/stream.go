package capture

import (
	"context"
	"errors"
	"io"
	"os"
)

// A Stream turns a ring into a pcapng file, live: one interface per port, each
// described before its first packet, and at the end the statistics.
type Stream struct {
	Ring *Ring
	// Name returns a port's name. It is asked once, at the port's first record or
	// before: the port may be gone by then.
	Name func(port uint32) string
	// Appl is written as the capturing program.
	Appl string
	// Ports are described at once, before any of their packets.
	Ports []uint32
	// Limit ends the stream after so many packets; 0 means none.
	Limit uint64

	w    *NGWriter
	seen map[uint32]*streamPort // by port
	all  []*streamPort          // by interface
	last int64
}

// streamPort is the interface a port became.
type streamPort struct {
	id       uint32
	received uint64
}

// Run copies until the ring is closed, Limit is reached or w refuses; only the
// last is an error. When ctx is done it closes the ring, and writes what is left
// in it. What has been captured is written out whenever the ring runs empty. Run
// does not close w.
func (s *Stream) Run(ctx context.Context, w io.Writer) error {
	defer context.AfterFunc(ctx, s.Ring.Close)()
	s.w, s.seen, s.all = NewNGWriter(w, s.Appl), map[uint32]*streamPort{}, nil
	for _, p := range s.Ports {
		s.port(p)
	}
	n := uint64(0)
	for {
		rec, ok := s.Ring.Next()
		if !ok {
			if err := s.w.Flush(); err != nil {
				return err
			}
			if err := s.Ring.Wait(ctx); errors.Is(err, os.ErrClosed) || ctx.Err() != nil {
				return s.finish()
			}
			continue
		}
		p := s.port(rec.Port)
		p.received++
		s.last = max(s.last, rec.Time)
		if err := s.w.Write(p.id, &rec); err != nil {
			return err
		}
		if n++; n == s.Limit {
			return s.finish()
		}
	}
}

// port returns a port's interface, describing it first if it is new.
func (s *Stream) port(port uint32) *streamPort {
	p := s.seen[port]
	if p == nil {
		p = &streamPort{id: s.w.AddInterface(s.Name(port), s.Ring.Snaplen())}
		s.seen[port], s.all = p, append(s.all, p)
	}
	return p
}

// finish writes one statistics block per interface, in order. The ring counts
// its drops for all ports together: they stand with the first interface.
func (s *Stream) finish() error {
	for i, p := range s.all {
		dropped, comment := uint64(0), ""
		if i == 0 {
			dropped = s.Ring.Drops()
			if len(s.all) > 1 && dropped > 0 {
				comment = "ifdrop counts all interfaces of this capture"
			}
		}
		s.w.Stats(p.id, s.last, p.received+dropped, dropped, comment)
	}
	return s.w.Flush()
}
