package vxlan

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// A gate stands in front of the kernel: message by message it may refuse what
// the kernel would take.
type gate struct {
	calls  int
	refuse func(h *unix.Msghdr, pieces, bytes int) unix.Errno
}

func (g *gate) sendmmsg(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
	g.calls++
	for i := range msgs {
		h := &msgs[i].Hdr
		bytes := int(h.Iov.Len)
		if errno := g.refuse(h, int(h.Iovlen), bytes); errno != 0 {
			if i > 0 {
				errno = 0
			}
			return i, errno
		}
		if n, errno := sendmmsg(fd, msgs[i:i+1]); n != 1 {
			return i, errno
		}
	}
	return len(msgs), 0
}

// TestRefusals has the kernel refuse in every way it knows. Frames arrive as far
// as they can, refused ones are told by name, and the kernel is asked no more
// often than there are runs.
func TestRefusals(t *testing.T) {
	small, large := udp(20, 200, 1), udp(20, 1400, 1)
	mixed := append(append(append([][]byte{}, small[:10]...), large...), small[10:]...)
	gso := func(errno unix.Errno) func(*unix.Msghdr, int, int) unix.Errno {
		return func(_ *unix.Msghdr, pieces, _ int) unix.Errno {
			if pieces > 1 {
				return errno
			}
			return 0
		}
	}
	over := func(limit int, merged, plain unix.Errno) func(*unix.Msghdr, int, int) unix.Errno {
		return func(_ *unix.Msghdr, pieces, bytes int) unix.Errno {
			switch {
			case bytes <= limit:
				return 0
			case pieces > 1:
				return merged
			}
			return plain
		}
	}
	all := func(errno unix.Errno) func(*unix.Msghdr, int, int) unix.Errno {
		return func(*unix.Msghdr, int, int) unix.Errno { return errno }
	}
	for _, c := range []struct {
		name     string
		refuse   func(*unix.Msghdr, int, int) unix.Errno
		rung     SendRung
		err      error
		come     [][]byte
		calls    int // at most
		fault    bool
		noteless bool
	}{
		{"nothing", all(0), SendGSO, nil, mixed, 1, false, true},
		{"EIO on merged messages", gso(unix.EIO), SendMMsg, nil, mixed, 2, false, false},
		{"EINVAL on merged messages", gso(unix.EINVAL), SendMMsg, nil, mixed, 2, false, false},
		{"EMSGSIZE", over(1000, unix.EMSGSIZE, unix.EMSGSIZE), SendGSO, ErrTooBig, small, 3, false, true},
		{"EINVAL for a size, as before Linux 6.14", over(1000, unix.EINVAL, unix.EMSGSIZE), SendGSO, ErrTooBig, small, 5, false, true},
		{"EAGAIN", all(unix.EAGAIN), SendGSO, ErrBlocked, nil, 3, false, true},
		{"ENOBUFS", all(unix.ENOBUFS), SendGSO, ErrBlocked, nil, 3, false, true},
		{"ENOMEM", all(unix.ENOMEM), SendGSO, ErrBlocked, nil, 3, false, true},
		{"ENETUNREACH", all(unix.ENETUNREACH), SendGSO, ErrFailed, nil, 3, true, true},
		{"EHOSTUNREACH", all(unix.EHOSTUNREACH), SendGSO, ErrFailed, nil, 3, true, true},
		{"ENETDOWN", all(unix.ENETDOWN), SendGSO, ErrFailed, nil, 3, true, true},
		{"EPERM", all(unix.EPERM), SendGSO, ErrFailed, nil, 3, true, true},
		{"EADDRNOTAVAIL", all(unix.EADDRNOTAVAIL), SendGSO, ErrFailed, nil, 3, true, true},
		{"EINVAL whatever is sent", all(unix.EINVAL), SendGSO, ErrFailed, nil, 6, true, true},
		{"no sendmmsg", all(unix.ENOSYS), SendSingle, nil, mixed, 1, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
			g := &gate{refuse: c.refuse}
			q.tx.call = g.sendmmsg
			refused := writeAll(t, q, list(t, mixed...))
			sameFrames(t, collect(t, b, len(c.come)), c.come)
			if len(refused)+len(c.come) != len(mixed) {
				t.Errorf("%d refused and %d sent of %d", len(refused), len(c.come), len(mixed))
			}
			for _, err := range refused {
				if err != c.err {
					t.Fatalf("refused: %v, want %v", err, c.err)
				}
			}
			if g.calls > c.calls {
				t.Errorf("%d system calls, at most %d were needed", g.calls, c.calls)
			}
			st := a.Stats()
			if st.SendRung != c.rung || (st.SendNote == "") != c.noteless || (st.SendFault != "") != c.fault {
				t.Errorf("rung %s (%s), fault %q", st.SendRung, st.SendNote, st.SendFault)
			}
			// The next batch goes as if nothing had been.
			q.tx.call = sendmmsg
			if refused := writeAll(t, q, list(t, mixed...)); len(refused) != 0 {
				t.Errorf("%d refused afterwards", len(refused))
			}
			sameFrames(t, collect(t, b, len(mixed)), mixed)
		})
	}
}

// A kernel that takes nothing and names no reason is taken for a full one: the call
// ends, and what was to be sent is refused.
func TestNothingTaken(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	data, calls := udp(5, 100, 1), 0
	q.tx.call = func(int, []unix.Mmsghdr) (int, unix.Errno) {
		if calls++; calls > 100 {
			t.Fatal("it is asked for ever")
		}
		return 0, 0
	}
	refused := writeAll(t, q, list(t, data...))
	if len(refused) != len(data) {
		t.Errorf("%d refused of %d", len(refused), len(data))
	}
	for _, err := range refused {
		if err != ErrBlocked {
			t.Errorf("refused: %v", err)
		}
	}
	if st := a.Stats(); st.SentDatagrams != 0 || st.SendFault != "" || st.SendRung != SendGSO {
		t.Errorf("%+v", st)
	}
	q.tx.call = sendmmsg
	writeAll(t, q, list(t, data...))
	sameFrames(t, collect(t, b, len(data)), data)
}

// A caller that does not go on behind a refused frame finds no old answers.
func TestFateIsForgotten(t *testing.T) {
	_, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	data := udp(10, 200, 1)
	fs := list(t, data...)
	full := &gate{refuse: func(*unix.Msghdr, int, int) unix.Errno { return unix.EAGAIN }}
	for _, c := range []struct {
		name string
		next []*frame.Frame
	}{
		{"the same list", fs}, {"one alone", fs[1:2]}, {"another one", fs[5:]}, {"none", nil}, {"the rest but one", fs[2:]},
	} {
		q.tx.call = full.sendmmsg
		if n, err := q.WriteBatch(fs); n != 0 || err != ErrBlocked {
			t.Fatal(n, err)
		}
		q.tx.call = sendmmsg
		if n, err := q.WriteBatch(c.next); n != len(c.next) || err != nil {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
		if got := len(collect(t, b, len(c.next))); got != len(c.next) {
			t.Errorf("%s: %d came", c.name, got)
		}
	}
}

// A pool socket that is full speaks for its own flows alone.
func TestBlockedSocketBlocksOnlyItself(t *testing.T) {
	_, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	var data [][]byte
	for port := range uint16(40) {
		data = append(data, udp(1, 300, 2000+port)...)
	}
	full := map[int]bool{}
	q.tx.call = func(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
		if len(full) == 0 {
			full[fd] = true
		}
		if full[fd] {
			return 0, unix.EAGAIN
		}
		return sendmmsg(fd, msgs)
	}
	refused := writeAll(t, q, list(t, data...))
	var come [][]byte
	for _, d := range data {
		if refused[string(d)] == nil {
			come = append(come, d)
		}
	}
	if len(refused) < 3 || len(refused) > 20 {
		t.Errorf("%d of %d frames refused by one socket of four", len(refused), len(data))
	}
	sameFrames(t, collect(t, b, len(come)), come)
}

// Source ports are of the dynamic range, many, and one per flow.
func TestEntropy(t *testing.T) {
	for _, c := range []struct {
		name   string
		shared bool
		pool   int
	}{{"pool", false, 0}, {"shared address", true, 0}, {"no pool", false, -1}, {"large pool", false, maxPool}} {
		t.Run(c.name, func(t *testing.T) {
			a := listen(t, "127.0.0.1", func(cfg *Config) { cfg.Pool = c.pool })
			b := listen(t, "127.0.0.2")
			routes := []Route{{Peer: b.Addr(), VNI: testVNI, Port: 1}}
			if c.shared {
				routes = append(routes, Route{Peer: addrPort("127.0.0.2:1"), VNI: testVNI, Port: 2})
			}
			a.SetTable(NewTable(routes))
			q := a.NewLink(b.Addr(), testVNI).Queues()[0]
			const flows, each = 50, 3
			var data [][]byte
			for i := range each * flows {
				data = append(data, nettest.UDP(hostA, hostB, uint16(3000+i%flows), 9, fmt.Appendf(nil, "%d", i%flows)))
			}
			writeAll(t, q, list(t, data...))
			ports, of := map[uint16]bool{}, map[string]uint16{}
			for range data {
				if !wait(t, b.FD(), 1e9) || !b.rx.receive(b.FD()) {
					break
				}
				for i := range b.rx.n {
					port := senderOf(&b.rx.names[i]).port
					ports[port] = true
					size := int(b.rx.msgs[i].Len)
					if segment := readControl(b.rx.controls[i].bytes(int(b.rx.msgs[i].Hdr.Controllen))); segment > 0 {
						size = segment
					}
					for at := 0; at < int(b.rx.msgs[i].Len); at += size {
						m := b.rx.slot(i)[slotRoom:][at:min(at+size, int(b.rx.msgs[i].Len))]
						flow := string(m[HeaderLen+42:])
						if before, ok := of[flow]; ok && before != port {
							t.Fatalf("flow %s left from ports %d and %d", flow, before, port)
						}
						of[flow] = port
					}
				}
				if len(of) == flows && b.rx.n < maxMessages {
					break
				}
			}
			if len(of) != flows {
				t.Fatalf("%d flows came of %d", len(of), flows)
			}
			if c.shared || c.pool < 0 {
				if len(ports) != 1 || !ports[a.Addr().Port()] {
					t.Errorf("sent from %v, want the listening port %d alone", ports, a.Addr().Port())
				}
				return
			}
			if want := len(a.SourcePorts()); want != a.cfg.Pool || len(ports) < min(want, 20) {
				t.Errorf("%d ports used of a pool of %d", len(ports), want)
			}
			for port := range ports {
				if port < firstPoolPort {
					t.Errorf("sent from port %d", port)
				}
			}
		})
	}
}

// Tables say whether an address is shared, also when they change.
func TestSharedChanges(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	alone := NewTable([]Route{{Peer: b.Addr(), VNI: testVNI, Port: 1}})
	shared := NewTable([]Route{{Peer: b.Addr(), VNI: testVNI, Port: 1}, {Peer: addrPort("127.0.0.2:1"), VNI: testVNI, Port: 2}})
	for i, table := range []*Table{nil, alone, shared, alone, nil} {
		a.SetTable(table)
		writeAll(t, q, list(t, udp(1, 10, 1)...))
		if !wait(t, b.FD(), 1e9) || !b.rx.receive(b.FD()) {
			t.Fatal("nothing came")
		}
		if listening := senderOf(&b.rx.names[0]).port == a.Addr().Port(); listening != (table == shared) {
			t.Errorf("step %d: sent from the listening port: %v", i, listening)
		}
	}
}

func TestSendAfterClose(t *testing.T) {
	a, _, q := pair(t, "127.0.0.1", "127.0.0.2")
	a.Close()
	if n, err := q.WriteBatch(list(t, udp(3, 10, 1)...)); n != 0 || err != os.ErrClosed {
		t.Errorf("WriteBatch = %d, %v", n, err)
	}
	if n, err := q.WriteBatch(nil); n != 0 || err != nil {
		t.Errorf("WriteBatch of none = %d, %v", n, err)
	}
}
