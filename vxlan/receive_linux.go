package vxlan

import (
	"net/netip"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: receiving
//
// One recvmmsg(2) fills up to maxMessages slots of an arena that is touched only
// as far as messages reach. A message is one datagram, or, with GRO, up to 64 of
// one flow end to end, all of one size but the last. ReadBatch cuts it and lends
// each frame to the batch where it lies: nothing is copied. A batch holds 64
// frames, a receive may bring more: a cursor (at, off) keeps the place, and the
// kernel is asked again only when everything has been handed out.
//
// So frames lie tightly one behind the other, 8 bytes of VXLAN header between
// them. They are the reader's until the next ReadBatch.
//
// After a receive that brought merged messages the next asks for few: what was
// received is to be used while it is in the processor's cache.
//
// The datagrams of a message have one sender, looked up once; the network is
// looked up when it changes.

const (
	maxMessages    = 64
	mergedMessages = 8
	// A slot holds the largest datagram or merged message behind some headroom
	// for the first frame. Slots are not a power of two apart: the same places
	// of all of them would compete for the same lines of the cache.
	slotRoom  = frame.Headroom
	slotBytes = 1<<16 + 2048
)

// A Reader is what one goroutine receives with: one of a socket's listening descriptors
// and its memory. All of a socket's know the same table and the same SAs.
type Reader struct {
	socket *Socket
	fd     atomic.Int32 // -1 after Close
	rung   ReceiveRung
	note   string
	call   func(fd int, msgs []unix.Mmsghdr) (int, unix.Errno)

	n, at, off int // messages received, the one being cut, the place in it
	want       int // messages to ask for
	open       bool
	length     int // of the message being cut
	size       int // of its datagrams

	// What was looked up last: the sender and its peer, nil if it is none; the
	// network and its switch port, if known.
	table *Table
	fresh bool // nothing was looked up in table yet
	from  source
	peer  *vtep
	vni   uint32
	port  uint32
	known bool

	// With ESP: what opens, by which SAs, and the one that opened last.
	opener *ipsec.Opener // nil: frames come in clear
	sas    *ipsec.Table
	sa     *ipsec.Inbound
	sender netip.AddrPort

	counters receiveCounters
	arena    []byte
	msgs     [maxMessages]unix.Mmsghdr
	iovs     [maxMessages]unix.Iovec
	names    [maxMessages]unix.RawSockaddrInet6
	controls [maxMessages]control
}

// init lays out the arena. The rung is known already.
func (rx *Reader) init(s *Socket, fd int) {
	rx.socket, rx.want = s, maxMessages
	rx.fd.Store(int32(fd))
	if s.cfg.ESP {
		rx.opener = ipsec.NewOpener()
	}
	rx.call = recvmmsg
	if rx.rung == ReceiveSingle {
		rx.call = recvEach
	}
	rx.arena = make([]byte, maxMessages*slotBytes)
	for i := range rx.msgs {
		slot := rx.slot(i)[slotRoom:]
		rx.iovs[i].Base = &slot[0]
		rx.iovs[i].SetLen(len(slot))
		h := &rx.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&rx.names[i]))
		h.Iov = &rx.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&rx.controls[i]))
		rx.rearm(i)
	}
}

func (rx *Reader) slot(i int) []byte { return rx.arena[i*slotBytes : (i+1)*slotBytes] }

// rearm makes a message that the kernel has filled in ready to be filled again.
func (rx *Reader) rearm(i int) {
	h := &rx.msgs[i].Hdr
	h.Namelen = uint32(unsafe.Sizeof(rx.names[i]))
	h.SetControllen(int(unsafe.Sizeof(rx.controls[i])))
}

// ReadBatch appends the frames that came in to b, each with In and VNI set, and
// returns their number: what the last receive left over, else what one receive
// brings, though not what b has no room for. It never blocks: 0 and no error means
// that nothing was there, or nothing that anybody wants, or that b was full. The
// error is os.ErrClosed after Close.
//
// borrowed: the frames lie in the socket's memory and are valid until the next
// call.
func (rx *Reader) ReadBatch(b *frame.Batch) (int, error) {
	fd := rx.FD()
	if fd < 0 {
		return 0, os.ErrClosed
	}
	if rx.at == rx.n && !rx.receive(fd) {
		return 0, nil
	}
	rx.sas = rx.socket.sas.Load()
	return rx.deliver(b, rx.socket.table.Load()), nil
}

// Pending reports whether ReadBatch has frames without asking the kernel, which a
// poller cannot know: read on while it is true. It belongs to the goroutine that reads.
func (rx *Reader) Pending() bool { return rx.at < rx.n }

// FD returns the descriptor to be polled for reading, -1 after Close. See
// [Reader.Pending] for what a poller does not know.
//
// borrowed: it belongs to the socket.
func (rx *Reader) FD() int { return int(rx.fd.Load()) }

// Received returns how many bytes of datagrams and how many frames came in by it.
func (rx *Reader) Received() (bytes, frames uint64) {
	return rx.counters.bytes.Load(), rx.counters.frames.Load()
}

// receive asks the kernel and reports whether anything came. An error is none of
// the reader's business: the socket has told it once and goes on.
func (rx *Reader) receive(fd int) bool {
	for i := range rx.n {
		rx.rearm(i)
	}
	rx.n, rx.at, rx.off, rx.open = 0, 0, 0, false
	n, errno := rx.call(fd, rx.msgs[:rx.want])
	if errno != 0 || n == 0 {
		return false
	}
	rx.n, rx.want = n, maxMessages
	add(&rx.counters.messages, n)
	return true
}

// deliver cuts messages into frames until the batch is full or none is left. A
// message that would fit into an empty batch is not begun in one that has too
// little room: its frames were one superframe, and join again only within a batch.
func (rx *Reader) deliver(b *frame.Batch, t *Table) int {
	if t != rx.table {
		rx.table, rx.fresh, rx.open, rx.sa = t, true, false, nil
	}
	frames, datagrams, bytes := 0, 0, 0
	for ; rx.at < rx.n; rx.at, rx.off, rx.open = rx.at+1, 0, false {
		if !rx.open {
			rx.begin()
		}
		if rx.off == 0 && rx.size < rx.length {
			if b.Len() > 0 && b.Len()+(rx.length-1)/rx.size >= frame.MaxBatch {
				break
			}
			rx.counters.merged.Add(1)
		}
		mem := rx.slot(rx.at)[: slotRoom+rx.length : slotRoom+rx.length]
		for rx.off < rx.length {
			if b.Len() == frame.MaxBatch {
				rx.count(frames, datagrams, bytes)
				return frames
			}
			start := slotRoom + rx.off
			n := min(rx.size, rx.length-rx.off)
			rx.off += n
			bytes += n
			datagrams++
			datagram := mem[start : start+n]
			if rx.opener != nil {
				var at int
				if datagram, at = rx.unseal(datagram); at == 0 {
					continue
				}
				start += at
				n = len(datagram)
			}
			vni, r := rx.admit(datagram)
			if r != frame.NotDropped {
				rx.counters.drops[r].Add(1)
				continue
			}
			f := b.Lend(mem, start+HeaderLen, n-HeaderLen)
			f.In, f.VNI = rx.port, vni
			frames++
		}
	}
	rx.count(frames, datagrams, bytes)
	return frames
}

// begin opens the message at the cursor: its size, its sender, and what the
// kernel told with it. It may be opened again, when the table has changed.
func (rx *Reader) begin() {
	m := &rx.msgs[rx.at]
	first := rx.off == 0
	rx.open, rx.length, rx.size = true, int(m.Len), int(m.Len)
	if segment := readControl(rx.controls[rx.at].bytes(int(m.Hdr.Controllen))); segment > 0 && segment < rx.length {
		rx.size, rx.want = segment, mergedMessages
	}
	if from := senderOf(&rx.names[rx.at]); rx.fresh || from != rx.from {
		rx.from, rx.peer, rx.known, rx.fresh, rx.sa = from, rx.table.find(from), false, false, nil
		rx.sender = from.addrPort()
	}
	if !first {
		return
	}
	// What holds not one byte of a datagram ends here: an empty one, and one the
	// kernel had to cut, whose segment size is lost.
	switch {
	case rx.length == 0:
		rx.lose(frame.Runt)
	case m.Hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		rx.lose(frame.Oversized)
	}
}

// lose drops the whole message as one datagram.
func (rx *Reader) lose(r frame.Reason) {
	if rx.peer == nil {
		r = frame.UnknownVTEP
	}
	rx.counters.datagrams.Add(1)
	rx.counters.bytes.Add(uint64(rx.length))
	rx.counters.drops[r].Add(1)
	rx.length = 0
}

// admit is the decap step: it says which network a datagram belongs to, and
// leaves that network's switch port in rx.port, or says why it is dropped. What
// strangers send is not looked into.
func (rx *Reader) admit(datagram []byte) (vni uint32, r frame.Reason) {
	if rx.peer == nil {
		return 0, frame.UnknownVTEP
	}
	if vni, r = ParseHeader(datagram); r != frame.NotDropped {
		return 0, r
	}
	if !rx.known || vni != rx.vni {
		port, r := rx.peer.port(vni)
		if r != frame.NotDropped {
			return 0, r
		}
		rx.vni, rx.port, rx.known = vni, port, true
	}
	return vni, frame.NotDropped
}

func (rx *Reader) count(frames, datagrams, bytes int) {
	add(&rx.counters.frames, frames)
	add(&rx.counters.datagrams, datagrams)
	add(&rx.counters.bytes, bytes)
}

// add adds to a counter that this goroutine alone writes.
func add(c *atomic.Uint64, n int) {
	if n != 0 {
		c.Store(c.Load() + uint64(n))
	}
}
