package offload

import (
	"encoding/binary"

	"weft/internal/frame"
)

// Theory of operation.
//
// A Merger looks at one batch bound for one port. Per flow (addresses, protocol,
// ports) it keeps at most one open run: consecutive segments that one superframe
// can stand for. A frame that continues its flow's run joins it; any other frame
// of that flow ends the run and may begin the next. What cannot be told apart by
// flow (fragments, protocols not looked into) ends every run. So frames of one
// flow never overtake each other; a superframe stands where the first frame of
// its run stood, which moves frames only ahead of other flows'.
//
// Bytes are copied once, when a run ends with more than one frame; a run of one
// is that frame, untouched. A partial checksum (NeedsCsum) comes from a local
// kernel and is made anew; a complete one is verified before its frame may join
// (unless DataValid says the kernel did), for in a superframe the receiver would
// put a right checksum over broken bytes.
//
// Bounds: maxRun segments and maxIP bytes per superframe, one batch of frames and
// mergeArena bytes per call; beyond them frames pass as they are.
const (
	maxRun     = 64 // UDP_MAX_SEGMENTS of older kernels
	maxIP      = 65535
	mergeArena = frame.ArenaSize + frame.MaxBatch*(frame.Headroom+frame.Tailroom)
)

// A Merger joins wire frames of one flow into superframes in its own arena.
type Merger struct {
	out    []*frame.Frame
	counts [frame.MaxBatch]uint8
	parts  [frame.MaxBatch][]byte // payload of input i, borrowed
	next   [frame.MaxBatch]uint8  // input that follows i in its run
	runs   [frame.MaxBatch]run
	n      int // runs used
	supers [frame.MaxBatch / 2]frame.Frame
	made   int // supers used
	arena  []byte
	used   int
	booked int // arena bytes that open runs will need
}

// NewMerger returns a merger with its arena.
func NewMerger() *Merger {
	return &Merger{out: make([]*frame.Frame, 0, frame.MaxBatch), arena: make([]byte, mergeArena)}
}

// Merge returns what to write, in order, to a port with caps instead of fs: of a
// UDP run one GSOUDP frame, of a TCP run one GSOTCP4 or GSOTCP6 frame. fs must
// have been parsed; the frames are only read. More than [frame.MaxBatch] frames
// are returned as they are.
//
// borrowed: the slice and the superframes are valid until the next call.
func (m *Merger) Merge(fs []*frame.Frame, caps frame.Caps) []*frame.Frame {
	const some = frame.CapTSO4 | frame.CapTSO6 | frame.CapUSO
	m.out, m.n, m.made, m.used, m.booked = m.out[:0], 0, 0, 0, 0
	if len(fs) < 2 || len(fs) > frame.MaxBatch || caps&some == 0 || caps&frame.CapCsum == 0 {
		return fs
	}
	for i, f := range fs {
		if !m.join(i, f, caps) {
			m.counts[len(m.out)] = 1
			m.out = append(m.out, f)
		}
	}
	for i := range m.n {
		m.end(&m.runs[i])
	}
	return m.out
}

// Count returns how many of the frames given to the last Merge the frame i of its
// result stands for.
func (m *Merger) Count(i int) int {
	if i < len(m.out) {
		return int(m.counts[i])
	}
	return 1
}

// join adds input i to its flow's run and reports whether it did. If not, it is
// to be put out next, and may have begun a run there.
func (m *Merger) join(i int, f *frame.Frame, caps frame.Caps) bool {
	var s segment
	switch s.read(f, caps) {
	case otherFlow:
		return false
	case anyFlow:
		for k := range m.n {
			m.end(&m.runs[k])
		}
		return false
	}
	m.parts[i] = s.payload
	r := m.find(&s)
	if r == nil {
		r = &m.runs[m.n] // a run per input at most: there is always one left
		m.n++
	} else if r.takes(&s) && m.book(r, len(s.payload)) && s.sumOK() && r.headOK() {
		m.next[r.tail] = uint8(i)
		r.add(&s, uint8(i))
		return true
	} else {
		m.end(r)
	}
	r.begin(&s, uint8(i), len(m.out))
	return false
}

// find returns the run of a segment's flow, the newest first, for traffic comes
// in trains.
func (m *Merger) find(s *segment) *run {
	for i := m.n - 1; i >= 0; i-- {
		if r := &m.runs[i]; r.head.hash == s.hash && r.head.sameFlow(s) {
			return r
		}
	}
	return nil
}

// book keeps arena room for n payload bytes more in r, and for all before them
// when r becomes a superframe by them.
func (m *Merger) book(r *run, n int) bool {
	if r.count == 1 {
		n += frame.Headroom + r.head.hdr + r.total + frame.Tailroom
	}
	if m.booked+n > len(m.arena) {
		return false
	}
	m.booked += n
	return true
}

// end closes a run and, if it has more than one frame, puts the superframe in
// the place of the first.
func (m *Merger) end(r *run) {
	if r.count > 1 {
		w := &m.supers[m.made]
		m.made++
		m.build(w, r)
		m.out[r.at], m.counts[r.at] = w, r.count
	}
	r.open, r.count = false, 0
}

// build assembles the superframe of a run in the arena.
func (m *Merger) build(w *frame.Frame, r *run) {
	h := &r.head
	at := m.used + frame.Headroom
	end := at + copy(m.arena[at:], h.b[:h.hdr])
	for i, k := r.first, uint8(0); k < r.count; i, k = m.next[i], k+1 {
		end += copy(m.arena[end:], m.parts[i])
	}
	w.Wrap(m.arena[m.used:end+frame.Tailroom:end+frame.Tailroom], frame.Headroom)
	w.Truncate(end - at)
	m.used = end + frame.Tailroom
	w.View, w.In, w.VNI = h.f.View, h.f.In, h.f.VNI
	w.Offload = frame.Offload{
		Flags: frame.NeedsCsum, GSO: h.gso(), HdrLen: uint16(h.hdr), Size: uint16(r.size),
		CsumStart: uint16(h.l4), CsumOffset: uint16(h.field() - h.l4),
	}
	b := w.Bytes()
	p, t := b[h.l3:], b[h.l4:]
	if h.v6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	} else {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		frame.SetIPv4Checksum(p[:h.l4-h.l3])
	}
	if h.udp {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		t[13] |= r.psh
	}
	// NeedsCsum: the field holds the pseudo-header's sum, not complemented.
	binary.BigEndian.PutUint16(b[h.field():], frame.Fold(w.PseudoSum(len(t))))
}
