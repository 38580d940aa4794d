package vxlan

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// Every datagram that is not a known peer's frame for a known network is dropped
// under its name, and those around it are not.
func TestDrops(t *testing.T) {
	good := encapsulated(testVNI, udp(1, 100, 1)[0])
	noI := append([]byte{}, good...)
	noI[0] = 0
	for _, c := range []struct {
		name  string
		from  string
		data  []byte
		want  frame.Reason
		plain bool // without GRO
	}{
		{"good", "127.0.0.1", good, frame.NotDropped, false},
		{"from a stranger", "127.0.0.3", good, frame.UnknownVTEP, false},
		{"the socket's own address", "127.0.0.2", good, frame.UnknownVTEP, false},
		{"no I flag", "127.0.0.1", noI, frame.BadVXLAN, false},
		{"foreign protocol", "127.0.0.1", []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), frame.BadVXLAN, false},
		{"foreign protocol of a stranger", "127.0.0.3", []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), frame.UnknownVTEP, false},
		{"another network", "127.0.0.1", encapsulated(testVNI+1, good[HeaderLen:]), frame.UnknownVNI, false},
		{"empty", "127.0.0.1", nil, frame.Runt, false},
		{"empty, of a stranger", "127.0.0.3", nil, frame.UnknownVTEP, false},
		{"one byte", "127.0.0.1", good[:1], frame.Runt, false},
		{"header alone", "127.0.0.1", good[:HeaderLen], frame.Runt, false},
		{"Ethernet header cut", "127.0.0.1", good[:HeaderLen+13], frame.Runt, false},
		{"Ethernet header alone", "127.0.0.1", good[:HeaderLen+14], frame.NotDropped, false},
		{"frame cut", "127.0.0.1", good[:60], frame.NotDropped, false}, // the view step's to find out
		{"nothing but zeros", "127.0.0.1", make([]byte, 1400), frame.BadVXLAN, false},
		{"no I flag, without GRO", "127.0.0.1", noI, frame.BadVXLAN, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, "127.0.0.2", func(cfg *Config) { cfg.NoGRO = c.plain })
			s.SetTable(NewTable([]Route{{Peer: addrPort("127.0.0.1:4789"), VNI: testVNI, Port: 7}}))
			_, send := stranger(t, c.from, s.Addr())
			_, sendGood := stranger(t, "127.0.0.1", s.Addr())
			sendGood(good)
			send(c.data)
			sendGood(good)
			want := 3
			if c.want != frame.NotDropped {
				want = 2
			}
			if all := collect(t, s, want); len(all) != want {
				t.Fatalf("%d frames came, want %d: %+v", len(all), want, s.Stats())
			}
			st := s.Stats()
			for r, n := range st.Drops {
				wanted := uint64(0)
				if frame.Reason(r) == c.want && c.want != frame.NotDropped {
					wanted = 1
				}
				if n != wanted {
					t.Errorf("%d drops called %v, want %d", n, frame.Reason(r), wanted)
				}
			}
			if st.Datagrams != 3 || st.Bytes != uint64(2*len(good)+len(c.data)) {
				t.Errorf("%d datagrams of %d bytes", st.Datagrams, st.Bytes)
			}
			conserved(t, s)
		})
	}
}

// Networks and drops are told apart inside one merged message.
func TestMergedMixture(t *testing.T) {
	a, b, _ := pair(t, "127.0.0.1", "127.0.0.2")
	b.SetTable(NewTable([]Route{{Peer: a.Addr(), VNI: 1, Port: 11}, {Peer: a.Addr(), VNI: 2, Port: 22}}))
	data := udp(60, 500, 1)
	fs := list(t, data...)
	tx, to := a.senders[0], addressOf(b.Addr())
	for i, f := range fs {
		PutHeader(f.Head(HeaderLen), uint32(1+i%3)) // 3 is unknown
		if i == 40 {
			f.Head(HeaderLen)[0] = 0
		}
	}
	if n, err := tx.send(a.fds[1], &to, fs); n != len(fs) || err != nil {
		t.Fatal(n, err)
	}
	all := collect(t, b, 39)
	st := b.Stats()
	if st.Messages != 1 || st.Merged != 1 || st.Drops[frame.UnknownVNI] != 20 || st.Drops[frame.BadVXLAN] != 1 || st.Frames != 39 {
		t.Errorf("%+v", st)
	}
	for _, g := range all {
		if g.in != g.vni*11 {
			t.Fatalf("a frame of network %d came through port %d", g.vni, g.in)
		}
	}
	conserved(t, b)
}

// atOnce is recvmmsg that waits until so many bytes have come, whatever the kernel
// takes its time for: one receive brings them all.
func atOnce(t *testing.T, bytes int) func(int, []unix.Mmsghdr) (int, unix.Errno) {
	return func(fd int, msgs []unix.Mmsghdr) (n int, errno unix.Errno) {
		for n < len(msgs) && bytes > 0 && wait(t, fd, time.Second) {
			k, errno := recvmmsg(fd, msgs[n:])
			if errno != 0 {
				return n, errno
			}
			for _, m := range msgs[n : n+k] {
				bytes -= int(m.Len)
			}
			n += k
		}
		return n, 0
	}
}

// A batch holds less than a receive brings: the rest waits, and knows the table
// of its own time.
func TestPending(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	data := udp(150, 400, 1)
	b.rx.call = atOnce(t, 150*(HeaderLen+len(data[0])))
	writeAll(t, q, list(t, data...))
	batch := frame.NewBatch()
	if n, err := b.ReadBatch(batch); n != frame.MaxBatch || err != nil || !b.Pending() {
		t.Fatalf("ReadBatch = %d, %v; pending %v", n, err, b.Pending())
	}
	if n, err := b.ReadBatch(batch); n != 0 || err != nil || !b.Pending() {
		t.Fatalf("a full batch took %d, %v; pending %v", n, err, b.Pending())
	}
	b.SetTable(NewTable([]Route{{Peer: a.Addr(), VNI: testVNI, Port: 8}}))
	batch.Reset()
	if n, err := b.ReadBatch(batch); n != frame.MaxBatch || err != nil || batch.At(0).In != 8 {
		t.Fatalf("ReadBatch = %d, %v, from port %d", n, err, batch.At(0).In)
	}
	b.SetTable(nil)
	batch.Reset()
	if n, err := b.ReadBatch(batch); n != 0 || err != nil || b.Pending() {
		t.Fatalf("without a table: ReadBatch = %d, %v; pending %v", n, err, b.Pending())
	}
	if st := b.Stats(); st.Drops[frame.UnknownVTEP] != 22 || st.Frames != 128 {
		t.Errorf("%+v", st)
	}
	if n, err := b.ReadBatch(batch); n != 0 || err != nil {
		t.Errorf("nothing there: %d, %v", n, err)
	}
	conserved(t, b)
}

// The kernel's VTEPs send no checksum unless told to.
func TestZeroChecksum(t *testing.T) {
	_, b, _ := pair(t, "127.0.0.1", "127.0.0.2")
	fd, send := stranger(t, "127.0.0.1", b.Addr())
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	data := udp(5, 300, 1)
	for _, d := range data {
		send(encapsulated(testVNI, d))
	}
	sameFrames(t, collect(t, b, len(data)), data)
}

// What finds the receive buffer full is counted by the kernel.
func TestKernelDrops(t *testing.T) {
	const sent = 300
	_, b, q := pair(t, "127.0.0.1", "127.0.0.2", func(c *Config) { c.ReceiveBuffer, c.NoGSO = 1, true })
	if on, err := unix.GetsockoptInt(b.FD(), unix.SOL_SOCKET, unix.SO_RXQ_OVFL); on != 0 || err != nil {
		t.Errorf("SO_RXQ_OVFL is %d, %v: it crashes hardened kernels, see kernelDrops", on, err)
	}
	data := udp(sent, 700, 1)
	lost := 0
	for range 2 {
		writeAll(t, q, list(t, data...))
		first := len(collect(t, b, sent))
		writeAll(t, q, list(t, data[0]))
		last := len(collect(t, b, 1))
		lost += sent - first
		if st := b.Stats(); first == 0 || first == sent || last != 1 || st.KernelDrops != uint64(lost) {
			t.Errorf("of %d datagrams %d came, then %d of 1; the kernel counted %d lost, want %d", sent, first, last, st.KernelDrops, lost)
		}
	}
}

// Sockets of the pool take nothing, whoever sends to them.
func TestPoolTakesNothing(t *testing.T) {
	s := listen(t, "127.0.0.2")
	for i, port := range s.SourcePorts() {
		_, send := stranger(t, "127.0.0.1", netip.AddrPortFrom(s.Addr().Addr(), port))
		send(encapsulated(testVNI, udp(1, 100, 1)[0]))
		if wait(t, s.fds[1+i], 20*time.Millisecond) {
			t.Errorf("the socket of port %d has something to read", port)
		}
	}
}

func TestReadControl(t *testing.T) {
	var c control
	put := func(at, level, kind int, value uint32) int {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c.bytes(64)[at]))
		h.Level, h.Type = int32(level), int32(kind)
		h.SetLen(unix.CmsgLen(4))
		*(*uint32)(unsafe.Pointer(&c.bytes(64)[at+unix.CmsgLen(0)])) = value
		return at + unix.CmsgSpace(4)
	}
	other := put(0, unix.SOL_IP, unix.IP_TTL, 64)
	both := put(other, unix.IPPROTO_UDP, unix.UDP_GRO, 1400)
	for _, tt := range []struct {
		name    string
		n, want int
	}{
		{"none", 0, 0},
		{"cut", 7, 0},
		{"another", other, 0},
		{"the second cut", other + 8, 0},
		{"both", both, 1400},
		{"both, without the padding", other + unix.CmsgLen(4), 1400},
		{"more than there is", 1000, 1400},
	} {
		if got := readControl(c.bytes(tt.n)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	(*unix.Cmsghdr)(unsafe.Pointer(&c)).SetLen(0)
	if got := readControl(c.bytes(both)); got != 0 {
		t.Errorf("message of length 0: %d", got)
	}
}

// A message the kernel had to cut is one drop, not frames of a guessed size.
func TestTruncatedMessage(t *testing.T) {
	for _, flags := range []int32{unix.MSG_TRUNC, unix.MSG_CTRUNC} {
		a, b, _ := pair(t, "127.0.0.1", "127.0.0.2")
		received(t, b, a, 3, 5, 200)
		bring := b.rx.call
		b.rx.call = func(fd int, msgs []unix.Mmsghdr) (int, unix.Errno) {
			n, errno := bring(fd, msgs)
			msgs[1].Hdr.Flags = flags
			return n, errno
		}
		batch := frame.NewBatch()
		if n, err := b.ReadBatch(batch); n != 10 || err != nil {
			t.Errorf("flags %#x: ReadBatch = %d, %v", flags, n, err)
		}
		if st := b.Stats(); st.Drops[frame.Oversized] != 1 || st.Datagrams != 11 {
			t.Errorf("flags %#x: %+v", flags, st)
		}
		conserved(t, b)
	}
}

// Errors of the socket are not the worker's: it goes on.
func TestReceiveErrors(t *testing.T) {
	_, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	kernel := b.rx.call
	for _, errno := range []unix.Errno{unix.ENOMEM, unix.EINTR, unix.ECONNREFUSED, unix.ENETDOWN} {
		b.rx.call = func(int, []unix.Mmsghdr) (int, unix.Errno) { return 0, errno }
		if n, err := b.ReadBatch(frame.NewBatch()); n != 0 || err != nil {
			t.Errorf("%v: ReadBatch = %d, %v", errno, n, err)
		}
	}
	b.rx.call = kernel
	data := udp(3, 100, 1)
	writeAll(t, q, list(t, data...))
	sameFrames(t, collect(t, b, 3), data)
}

// Hostile datagrams end as frames or as named drops.
func FuzzReceive(f *testing.F) {
	f.Add(encapsulated(testVNI, udp(1, 100, 1)[0]), 50)
	f.Add([]byte{8}, 0)
	a, s, _ := pair(f, "127.0.0.1", "127.0.0.2")
	src := addressOf(a.Addr())
	batch := frame.NewBatch()
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		data = data[:min(len(data), 65535)]
		s.rx.call = func(_ int, msgs []unix.Mmsghdr) (int, unix.Errno) {
			c := (*segmentSize)(unsafe.Pointer(&s.rx.controls[0]))
			c.header.Level, c.header.Type = unix.IPPROTO_UDP, unix.UDP_GRO
			c.header.SetLen(unix.CmsgLen(4))
			*(*int32)(unsafe.Pointer(&s.rx.controls[0].bytes(64)[unix.CmsgLen(0)])) = int32(size)
			msgs[0].Hdr.SetControllen(unix.CmsgSpace(4))
			msgs[0].Len, s.rx.names[0] = uint32(len(data)), src.raw
			copy(s.rx.slot(0)[slotRoom:], data)
			return 1, 0
		}
		before, total := s.Stats().Bytes, 0
		for {
			batch.Reset()
			n, err := s.ReadBatch(batch)
			if err != nil || n != batch.Len() {
				t.Fatal(n, err)
			}
			for i := range n {
				total += batch.At(i).Len()
				batch.At(i).Parse()
			}
			if !s.Pending() {
				break
			}
		}
		if got := s.Stats().Bytes - before; got != uint64(len(data)) || total > len(data) {
			t.Fatalf("%d of %d bytes counted, %d handed out", got, len(data), total)
		}
		conserved(t, s)
	})
}
