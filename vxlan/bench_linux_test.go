package vxlan

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/internal/offload"
)

// perFrame reports the time for each of n frames per iteration.
func perFrame(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/frame")
}

// takesAll is a kernel that takes everything and keeps nothing.
func takesAll(_ int, msgs []unix.Mmsghdr) (int, unix.Errno) { return len(msgs), 0 }

// BenchmarkEncap puts 64 frames with 1,450 bytes of IP behind VXLAN headers and
// plans the messages; the system call is left out.
func BenchmarkEncap(b *testing.B) {
	for _, c := range []struct {
		name  string
		flows int
	}{{"1flow", 1}, {"8flows", 8}} {
		b.Run(c.name, func(b *testing.B) {
			_, _, q := pair(b, "127.0.0.1", "127.0.0.2")
			q.tx.call = takesAll
			var data [][]byte
			for i := range frame.MaxBatch {
				data = append(data, udp(1, 1450-28, uint16(1000+i%c.flows))...)
			}
			fs := list(b, data...)
			order := append([]*frame.Frame{}, fs...)
			b.ReportAllocs()
			for b.Loop() {
				copy(fs, order)
				if _, err := q.WriteBatch(fs); err != nil {
					b.Fatal(err)
				}
			}
			perFrame(b, len(fs))
		})
	}
}

// BenchmarkSegmentEncap is what a superframe of TCP costs on its way out: cut,
// checksums finished, encapsulated, planned.
func BenchmarkSegmentEncap(b *testing.B) {
	_, _, q := pair(b, "127.0.0.1", "127.0.0.2")
	q.tx.call = takesAll
	const size, n = 1398, 44 // 1,450 bytes with IP and TCP with timestamps
	data, off := nettest.TCPSuper(hostA, hostB, nettest.Segment{SrcPort: 1, DstPort: 2, Flags: nettest.ACK,
		Options: make([]byte, 12), Payload: make([]byte, size*n)}, size)
	batch := frame.NewBatch()
	f := batch.Append(data)
	f.Offload = off
	if r := f.Parse(); r != frame.NotDropped {
		b.Fatal(r)
	}
	s := offload.NewSplitter()
	fs := make([]*frame.Frame, 0, n)
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		parts, r := s.Split(f)
		if r != frame.NotDropped || len(parts) != n {
			b.Fatal(r, len(parts))
		}
		fs = fs[:0]
		for i := range parts {
			fs = append(fs, &parts[i])
		}
		if _, err := q.WriteBatch(fs); err != nil {
			b.Fatal(err)
		}
	}
	perFrame(b, n)
}

// received makes a socket's receiver believe that the kernel brought messages of
// frames datagrams each.
func received(t testing.TB, s *Socket, from *Socket, messages, frames, size int) {
	data := udp(1, size-42, 1)[0]
	src := addressOf(from.Addr())
	s.rx.call = func(_ int, msgs []unix.Mmsghdr) (int, unix.Errno) {
		for i := range messages {
			s.rx.msgs[i].Len = uint32(frames * (HeaderLen + size))
			s.rx.names[i] = src.raw
			s.rx.msgs[i].Hdr.SetControllen(0)
			if frames > 1 {
				c := (*segmentSize)(unsafe.Pointer(&s.rx.controls[i]))
				c.header.Level, c.header.Type = unix.IPPROTO_UDP, unix.UDP_GRO
				c.header.SetLen(unix.CmsgLen(4))
				binary.NativeEndian.PutUint32(s.rx.controls[i].bytes(64)[unix.CmsgLen(0):], uint32(HeaderLen+size))
				s.rx.msgs[i].Hdr.SetControllen(unix.CmsgSpace(4))
			}
		}
		return messages, 0
	}
	for i := range messages {
		for k := range frames {
			copy(s.rx.slot(i)[slotRoom+k*(HeaderLen+size):], encapsulated(testVNI, data))
		}
	}
}

// BenchmarkDecap takes frames of 1,450 bytes of IP out of what was received, in
// memory; verified says that the inner checksum is verified as well.
func BenchmarkDecap(b *testing.B) {
	for _, c := range []struct {
		name             string
		messages, frames int
		verify           bool
	}{
		{"merged", 8, 44, false}, {"plain", 64, 1, false},
		{"merged verified", 8, 44, true}, {"plain verified", 64, 1, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			a, s, _ := pair(b, "127.0.0.1", "127.0.0.2")
			received(b, s, a, c.messages, c.frames, 1450+14)
			batch := frame.NewBatch()
			total := 0
			b.ReportAllocs()
			for b.Loop() {
				for got := 0; got < c.messages*c.frames; {
					batch.Reset()
					n, err := s.ReadBatch(batch)
					if n == 0 || err != nil {
						b.Fatal(n, err)
					}
					got += n
					for i := range n {
						if !c.verify {
							break
						}
						f := batch.At(i)
						f.Parse()
						l4 := f.Bytes()[f.View.L4:]
						if frame.Checksum(l4, f.PseudoSum(len(l4))) != 0 {
							b.Fatal("checksum")
						}
					}
				}
				total++
			}
			perFrame(b, c.messages*c.frames)
		})
	}
}

// BenchmarkLoopback sends a run and receives it, system calls and the kernel's
// own work included.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct {
		name   string
		frames int
		size   int
		change func(*Config)
	}{
		{"tcp gso", 44, 1450 - 28, func(*Config) {}},
		{"udp gso", 64, 1300, func(*Config) {}},
		{"udp plain", 64, 1300, func(c *Config) { c.NoGSO, c.NoGRO = true, true }},
		{"one", 1, 64, func(*Config) {}},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, s, q := pair(b, "127.0.0.1", "127.0.0.2", c.change)
			fs := list(b, udp(c.frames, c.size, 1)...)
			batch := frame.NewBatch()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := q.WriteBatch(fs); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < len(fs); {
					batch.Reset()
					n, err := s.ReadBatch(batch)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
			perFrame(b, len(fs))
		})
	}
}
