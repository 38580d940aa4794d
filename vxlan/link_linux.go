package vxlan

import (
	"net/netip"

	"weft/internal/frame"
	"weft/ipsec"
)

// A Link is the way to one network of one remote VTEP.
type Link struct {
	socket *Socket
	peer   netip.AddrPort
	vni    uint32
	to     address
	keys   *ipsec.Peer // nil: frames leave in clear
	queues []*LinkQueue
}

// NewLink returns the link to a network of the VTEP that listens at peer; port 0
// stands for [Port]. It holds no descriptor and needs no closing.
func (s *Socket) NewLink(peer netip.AddrPort, vni uint32) *Link {
	if peer.Port() == 0 {
		peer = netip.AddrPortFrom(peer.Addr(), Port)
	}
	l := &Link{socket: s, peer: peer, vni: vni & MaxVNI, to: s.destination(peer)}
	for _, tx := range s.senders {
		l.queues = append(l.queues, &LinkQueue{link: l, tx: tx})
	}
	return l
}

// NewSealedLink is NewLink of a socket for ESP, which the VTEP has at peer; port 0
// stands for [ipsec.Port], and a raw socket has no use for it. What leaves is sealed by
// the worker's SA that keys say, and while there is none, nothing does: the error is
// [ErrNoKey].
func (s *Socket) NewSealedLink(peer netip.AddrPort, vni uint32, keys *ipsec.Peer) *Link {
	if peer.Port() == 0 {
		peer = netip.AddrPortFrom(peer.Addr(), ipsec.Port)
	}
	l := s.NewLink(peer, vni)
	l.keys = keys
	return l
}

// Queues returns the link's queues, one per worker; worker i of the switch writes
// to the i-th. The slice is not to be changed.
func (l *Link) Queues() []*LinkQueue { return l.queues }

// A LinkQueue is what one worker writes to.
type LinkQueue struct {
	link   *Link
	tx     *sender
	table  *Table // that single was looked up in
	single bool   // everything leaves from the listening port
	behind fate
}

// A fate is what the frames behind a refused one have coming: the caller goes on
// with them one by one, and the kernel is not asked the same thing again.
type fate struct {
	next *frame.Frame
	left int // frames the caller still has
	n    int // of which so many share it
	err  error
}

// Caps returns 0: a link takes wire frames, their checksums complete.
func (q *LinkQueue) Caps() frame.Caps { return 0 }

// ReadBatch returns 0 and no error: what comes from a VTEP is read from the
// socket.
func (q *LinkQueue) ReadBatch(*frame.Batch) (int, error) { return 0, nil }

// WriteBatch sends the frames and returns how many were taken. If that is fewer
// than all, the error is about the next one: [ErrTooBig], [ErrBlocked], [ErrNoKey],
// [ErrFailed], or os.ErrClosed after Close.
//
// It may change the order of the list, so that frames that leave from the same
// port stand together; frames of one flow keep theirs, and the returned number
// goes by the new order. The eight bytes before each frame are overwritten,
// on a sealed link 16, and up to five behind it if there are as many.
func (q *LinkQueue) WriteBatch(fs []*frame.Frame) (int, error) {
	if q.behind.n > 0 {
		if err := q.share(fs); err != nil {
			return 0, err
		}
	}
	done := 0
	for done < len(fs) {
		part := fs[done:min(len(fs), done+frame.MaxBatch)]
		n, err := q.write(part)
		if done += n; err != nil {
			q.expect(fs[done:], part[n:q.tx.end], err)
			return done, err
		}
	}
	return done, nil
}

// share returns the error that the first frame shares with the one refused
// before it, nil if the caller came back with something else.
func (q *LinkQueue) share(fs []*frame.Frame) error {
	w := &q.behind
	if len(fs) != w.left || fs[0] != w.next {
		w.n = 0
		return nil
	}
	err := w.err
	if w.n--; w.n > 0 {
		w.next, w.left = fs[1], w.left-1
	}
	return err
}

// expect notes which frames behind rest[0], which was refused, share its fate:
// those that were to leave from the same socket with it and are as long. part is
// rest as far as it was for that socket.
func (q *LinkQueue) expect(rest, part []*frame.Frame, err error) {
	n := 1
	for n < len(part) && part[n].Len() == part[0].Len() {
		n++
	}
	if n > 1 {
		q.behind = fate{next: rest[1], left: len(rest) - 1, n: n - 1, err: err}
	}
}
