package node

import (
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/internal/capture"
	"weft/internal/cnm"
)

// Theory of operation: captures
//
// A session is a ring on every port it looks at, ports added later included, and
// one goroutine that turns the ring's records into pcapng and writes them to a
// pipe. It ends when its reader is closed, its context ends or the node closes;
// the goroutine then takes the ring off the ports. A slow reader fills the ring,
// never a worker; what found it full is counted in the file's statistics block.

const (
	// ringSize is what a capture may hold back, in bytes.
	ringSize = 16 << 20
	// maxSessions bounds the captures under way, and with them the memory.
	maxSessions = 32
	// captureGrace is what a reader has to take the rest when the node closes.
	captureGrace = time.Second
)

type captureSession struct {
	ring    *capture.Ring
	point   capture.Point
	network string // id, empty for all
	sandbox string // id, of a tunnel its network's; empty for all
	ifName  string // empty for all

	mu    sync.Mutex
	names map[uint32]string // by serial; of ports that have gone too: their frames may be waiting
}

// wants reports whether the session looks at a port.
func (s *captureSession) wants(lp *livePort) bool {
	return (s.network == "" || s.network == lp.network) && (s.sandbox == "" || s.sandbox == lp.key.sandbox) &&
		(s.ifName == "" || s.ifName == lp.key.ifName)
}

// join puts the session's ring on a port it wants.
func (s *captureSession) join(lp *livePort) {
	if !s.wants(lp) {
		return
	}
	s.mu.Lock()
	s.names[lp.port.Serial()] = lp.port.Name()
	s.mu.Unlock()
	lp.port.Capture(s.ring, s.point)
}

// addSession starts a session on all ports there are.
func (d *dataPath) addSession(s *captureSession) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sessions) >= maxSessions {
		return cnm.Errorf(cnm.Unavailable, "%d captures are under way already: end one of them first", maxSessions)
	}
	d.sessions[s] = struct{}{}
	for _, lp := range d.ports {
		s.join(lp)
	}
	return nil
}

// dropSession takes a session's ring off all ports.
func (d *dataPath) dropSession(s *captureSession) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s)
	for _, lp := range d.ports {
		lp.port.Uncapture(s.ring)
	}
}

// Capture copies the frames o selects into a pcapng stream until it is closed or
// ctx ends.
func (n *Node) Capture(ctx context.Context, o CaptureOptions) (io.ReadCloser, error) {
	s, err := n.captureSession(o)
	if err != nil {
		return nil, err
	}
	if err := n.path.addSession(s); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	started := n.own.spawn(func() {
		defer context.AfterFunc(n.ctx, func() {
			cancel()
			time.AfterFunc(captureGrace, func() { r.CloseWithError(os.ErrClosed) })
		})()
		// A closed ring ends the stream also while frames keep coming.
		defer context.AfterFunc(ctx, s.ring.Close)()
		w.CloseWithError(s.stream("weft "+n.cfg.Version).Run(ctx, w))
		n.path.dropSession(s)
		cancel()
	})
	if !started {
		n.path.dropSession(s)
		cancel()
		return nil, cnm.Errorf(cnm.Unavailable, "the daemon is stopping")
	}
	return &captureReader{r, cancel}, nil
}

func (n *Node) captureSession(o CaptureOptions) (*captureSession, error) {
	s := &captureSession{point: capture.Both, names: make(map[uint32]string)}
	if o.Before != o.After {
		s.point = capture.After
		if o.Before {
			s.point = capture.Before
		}
	}
	filter, err := capture.ParseFilter(o.Filter)
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "%w", err)
	}
	if strings.Contains(o.Port, "@") { // no sandbox is named so
		key, err := n.path.tunnel(o.Port)
		if err != nil {
			return nil, err
		}
		s.sandbox, s.ifName, o.Port = key.sandbox, key.ifName, ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if o.Network != "" {
		nw, err := n.findNetworkLocked(o.Network)
		if err != nil {
			return nil, err
		}
		s.network = nw.ID
	}
	if o.Port != "" {
		b, ifName, err := n.findPortLocked(o.Port)
		if err != nil {
			return nil, err
		}
		s.sandbox, s.ifName = b.sb.ID, ifName
	}
	s.ring = capture.NewRing(ringSize, filter, o.Snaplen)
	return s, nil
}

// tunnel finds a tunnel or a way out by the name that the port has, NETWORK@PEER or
// NETWORK@uplink.
func (d *dataPath) tunnel(name string) (portKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var has []string
	for key, lp := range d.ports {
		if lp.device != nil {
			continue
		}
		if lp.port.Name() == name {
			return key, nil
		}
		has = append(has, lp.port.Name())
	}
	if len(has) == 0 {
		return portKey{}, cnm.Errorf(cnm.NotFound, "there is no tunnel %s: this node has none", name)
	}
	slices.Sort(has)
	return portKey{}, cnm.Errorf(cnm.NotFound, "there is no tunnel %s, there are %s", name, strings.Join(has, ", "))
}

// findPortLocked reads SANDBOX or SANDBOX:IFNAME.
func (n *Node) findPortLocked(ref string) (b *box, ifName string, err error) {
	ref, ifName, _ = strings.Cut(ref, ":")
	b, err = n.findBoxLocked(ref)
	return b, ifName, err
}

// stream describes the file to be written: the ports there are at once, later
// ones when their first frame comes.
func (s *captureSession) stream(appl string) *capture.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &capture.Stream{Ring: s.ring, Name: s.name, Appl: appl, Ports: slices.Sorted(maps.Keys(s.names))}
}

// name returns the name of the port with a serial.
func (s *captureSession) name(serial uint32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[serial]
}

// A captureReader is the reading end; closing it ends the session.
type captureReader struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the capture.
func (r *captureReader) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}
