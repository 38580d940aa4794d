package vxlan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/keyring"
	"weft/ipsec"
)

// marker is in all that is sent, and must be in nothing that leaves.
const marker = "nobody else may read this"

// A wiretap sees all datagrams that the kernel took.
type wiretap struct {
	mu   sync.Mutex
	keys map[uint32]string // by SPI, as it is now
	ids  map[string]uint64
	seen map[uint64]struct{} // key and IV
	bad  []string
	all  int
}

// learn notes which key an SPI has.
func (w *wiretap) learn(sas []ipsec.ExportedSA) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sa := range sas {
		k := string(sa.Key)
		w.keys[sa.SPI] = k
		if _, ok := w.ids[k]; !ok {
			w.ids[k] = uint64(len(w.ids))
		}
	}
}

func (w *wiretap) datagram(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all++
	key, known := w.keys[binary.BigEndian.Uint32(b)]
	at := w.ids[key]<<40 | binary.BigEndian.Uint64(b[8:])
	_, again := w.seen[at]
	w.seen[at] = struct{}{}
	if len(w.bad) < 10 && (!known || again || bytes.Contains(b, []byte(marker[:8]))) {
		w.bad = append(w.bad, fmt.Sprintf("SPI known %v, IV again %v: %x", known, again, b[:min(64, len(b))]))
	}
}

// messages sees what sendmmsg took.
func (w *wiretap) messages(msgs []unix.Mmsghdr) {
	for i := range msgs {
		for _, v := range unsafe.Slice(msgs[i].Hdr.Iov, int(msgs[i].Hdr.Iovlen)) {
			w.datagram(unsafe.Slice(v.Base, int(v.Len)))
		}
	}
}

// A rotating end is a node that has a ring.
type rotatingEnd struct {
	*Socket
	ring       *keyring.Ring
	peer       *ipsec.Peer // the other
	name       string
	sent, came atomic.Int64 // frames
	refused    atomic.Int64
	writing    [2]sync.Mutex // by worker: held from when its key is chosen until all is sent
}

func rotatingEnds(t *testing.T) (a, b *rotatingEnd) {
	psk, err := ipsec.NewPSK([]byte("a secret of the test's"))
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]*rotatingEnd{}
	for i, at := range []string{"127.0.0.1", "127.0.0.2"} {
		s := listen(t, at, func(c *Config) { c.ESP, c.Workers = true, 2 })
		e := &rotatingEnd{Socket: s, name: s.Addr().String()}
		e.ring = keyring.New(keyring.Config{Sign: psk.Sign, Own: ipsec.Announcement{
			Node: e.name, VTEP: s.Addr(), Generation: 1, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 2,
		}})
		ends[i] = e
	}
	return ends[0], ends[1]
}

// hear has an end hear what the other announces, and open by what follows from it.
func (e *rotatingEnd) hear(t *testing.T, other *rotatingEnd, now time.Time, tap *wiretap) {
	t.Helper()
	for _, b := range other.ring.Announcements() {
		a, err := ipsec.Decode(b, func(*ipsec.Announcement, []byte, []byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.ring.Hear(now, a); err != nil {
			t.Fatal(err)
		}
	}
	e.publish()
	if e.peer, _ = e.ring.Peer(other.name); e.peer != nil {
		tap.learn(e.peer.Export(e.Addr().Addr()))
	}
}

func (e *rotatingEnd) publish() {
	table, _ := ipsec.NewTable(e.ring.Inbound(nil))
	e.SetSAs(table)
}

// settled reports whether an end sends by an epoch.
func (e *rotatingEnd) settled(epoch uint64) bool {
	for _, s := range e.ring.Status() {
		for _, p := range s.Pairs {
			if p.State == ipsec.Sending {
				return p.Epoch == epoch
			}
		}
	}
	return false
}

// tick lets time pass at an end: it sends the probes that are due.
func (e *rotatingEnd) tick(t *testing.T, now time.Time, tap *wiretap) {
	t.Helper()
	probes, _ := e.ring.Probes(now)
	for _, p := range probes {
		b := make([]byte, 128)
		n, r := ipsec.NewSealer().Seal(p.By, b, ipsec.NextNone, []byte(marker))
		if r != frame.NotDropped {
			t.Fatal(r)
		}
		if err := e.Send(p.To, b[:n]); err != nil {
			t.Fatal(err)
		}
		tap.datagram(b[:n])
	}
	if e.ring.Tick(now) {
		e.publish()
	}
}

// outstanding is how many frames may be on their way: less than what the kernel has
// room for.
const outstanding = 64

// send sends runs by one worker's queue until it is told to stop.
func (e *rotatingEnd) send(t *testing.T, worker int, q *LinkQueue, to *rotatingEnd, stop *atomic.Bool) {
	data := udp(4, 700, 1)
	for _, d := range data {
		copy(d[len(d)-200:], marker)
	}
	fs := list(t, data...)
	for !stop.Load() {
		if e.sent.Load()-to.came.Load() > outstanding {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		e.writing[worker].Lock()
		n, err := q.WriteBatch(fs)
		e.sent.Add(int64(n))
		e.writing[worker].Unlock()
		if err != nil {
			e.refused.Add(int64(len(fs) - n))
		}
	}
}

// receive counts the frames that come until it is told to stop.
func (e *rotatingEnd) receive(stop *atomic.Bool) {
	b := frame.NewBatch()
	for !stop.Load() {
		if !e.Pending() {
			fds := []unix.PollFd{{Fd: int32(e.FD()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 20); n <= 0 {
				continue
			}
		}
		b.Reset()
		n, err := e.ReadBatch(b)
		if err != nil {
			return
		}
		e.came.Add(int64(n))
	}
}

// TestRotations changes the keys 1,000 times while two workers of each end send as fast
// as they can: nothing is lost, nothing leaves in clear, and no key has an IV twice.
func TestRotations(t *testing.T) {
	tap := &wiretap{keys: map[uint32]string{}, ids: map[string]uint64{}, seen: map[uint64]struct{}{}}
	a, b := rotatingEnds(t)
	now := time.Unix(1_700_000_000, 0)
	for _, e := range []*rotatingEnd{a, b} {
		if _, err := e.ring.Begin(1, now); err != nil {
			t.Fatal(err)
		}
	}
	a.hear(t, b, now, tap)
	b.hear(t, a, now, tap)
	var stopSending, stopReceiving atomic.Bool
	var senders, receivers sync.WaitGroup
	for _, d := range []struct{ from, to *rotatingEnd }{{a, b}, {b, a}} {
		d.to.SetTable(NewTable([]Route{{Keys: d.to.peer, VNI: testVNI, Port: 7}}))
		for worker, q := range d.from.NewSealedLink(d.to.Addr(), testVNI, d.from.peer).Queues() {
			call := q.tx.call
			q.tx.call = func(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
				n, errno := call(fd, msgs)
				tap.messages(msgs[:n])
				return n, errno
			}
			senders.Go(func() { d.from.send(t, worker, q, d.to, &stopSending) })
		}
		receivers.Go(func() { d.to.receive(&stopReceiving) })
	}
	rotations := uint64(1000)
	if testing.Short() {
		rotations = 100
	}
	for epoch := uint64(2); epoch <= rotations+1 && !t.Failed(); epoch++ {
		rotate(t, a, b, epoch, &now, tap)
	}
	stopSending.Store(true)
	senders.Wait()
	arrived(t, a, b)
	stopReceiving.Store(true)
	receivers.Wait()
	for _, e := range []*rotatingEnd{a, b} {
		st := e.Stats()
		for r, n := range st.Drops {
			if n != 0 {
				t.Errorf("%s: %d dropped as %v", e.name, n, frame.Reason(r))
			}
		}
		if e.refused.Load() != 0 || st.KernelDrops != 0 {
			t.Errorf("%s: %d frames refused, %d datagrams lost by the kernel", e.name, e.refused.Load(), st.KernelDrops)
		}
	}
	for _, bad := range tap.bad {
		t.Error(bad)
	}
	// By each epoch, each worker of each end.
	if uint64(len(tap.ids)) < 4*rotations || int64(tap.all) < a.sent.Load()+b.sent.Load() || a.sent.Load() < int64(8*rotations) {
		t.Errorf("%d datagrams of %d frames by %d keys were seen", tap.all, a.sent.Load()+b.sent.Load(), len(tap.ids))
	}
	t.Logf("%d frames, %d datagrams by %d keys", a.sent.Load()+b.sent.Load(), tap.all, len(tap.ids))
}

// rotate begins an epoch at both ends, one after the other, and returns when both send
// by it and what was sent before has come.
func rotate(t *testing.T, a, b *rotatingEnd, epoch uint64, now *time.Time, tap *wiretap) {
	t.Helper()
	first, second := a, b
	if epoch%2 == 0 {
		first, second = b, a
	}
	for _, d := range []struct{ e, other *rotatingEnd }{{first, second}, {second, first}} {
		if _, err := d.e.ring.Begin(epoch, *now); err != nil {
			t.Fatal(err)
		}
		d.e.publish()
		d.other.hear(t, d.e, *now, tap)
	}
	first.hear(t, second, *now, tap)
	second.hear(t, first, *now, tap)
	for end := time.Now().Add(10 * time.Second); !a.settled(epoch) || !b.settled(epoch); time.Sleep(100 * time.Microsecond) {
		*now = now.Add(100 * time.Millisecond)
		a.tick(t, *now, tap)
		b.tick(t, *now, tap)
		if time.Now().After(end) {
			t.Errorf("epoch %d: not sent by within 10 s", epoch)
			return
		}
	}
	arrived(t, a, b)
}

// handed returns how many frames the kernel has, when no worker is about to give it some
// by a key chosen before: one may have lost its CPU.
func (e *rotatingEnd) handed() int64 {
	for i := range e.writing {
		e.writing[i].Lock()
		defer e.writing[i].Unlock()
	}
	return e.sent.Load()
}

// arrived waits until what was sent until now has come.
func arrived(t *testing.T, a, b *rotatingEnd) {
	t.Helper()
	fromA, fromB := a.handed(), b.handed()
	for end := time.Now().Add(5 * time.Second); b.came.Load() < fromA || a.came.Load() < fromB; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Errorf("of %d frames %d came, of %d the other way %d", fromA, b.came.Load(), fromB, a.came.Load())
			return
		}
	}
}
