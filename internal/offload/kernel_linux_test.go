package offload_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/nettest"
	"weft/internal/offload"
)

// The kernel is the second model: a packet socket with PACKET_VNET_HDR hands it a
// superframe for a TAP without offloads, so it must cut it itself (skb_segment),
// and what the TAP then yields are its wire frames. All of this is in a user and
// a network namespace of the test's own.
// A segmenter is the TAP and the packet socket.
type segmenter struct {
	tap, sock int
	to        unix.SockaddrLinklayer
}

func newSegmenter(t *testing.T) *segmenter {
	t.Helper()
	s := &segmenter{}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	var err error
	s.tap, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.EACCES || err == unix.ENOENT {
		nettest.Skip(t, "open /dev/net/tun: %v", err)
	}
	must("open /dev/net/tun", err)
	ifr, err := unix.NewIfreq("cut0")
	must("name", err)
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	must("TUNSETIFF", unix.IoctlIfreq(s.tap, unix.TUNSETIFF, ifr))
	s.sock, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must("packet socket", err)
	must("PACKET_VNET_HDR", unix.SetsockoptInt(s.sock, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	must("index", unix.IoctlIfreq(s.sock, unix.SIOCGIFINDEX, ifr))
	s.to = unix.SockaddrLinklayer{Ifindex: int(ifr.Uint32())}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_NOARP)
	must("up", unix.IoctlIfreq(s.sock, unix.SIOCSIFFLAGS, ifr))
	t.Cleanup(func() { unix.Close(s.sock); unix.Close(s.tap) })
	return s
}

// cut sends f, with whatever f's virtio header leaves undone, and returns the n
// wire frames the kernel makes of it.
func (s *segmenter) cut(t *testing.T, f *frame.Frame, n int) [][]byte {
	t.Helper()
	// A correct length of the headers: the kernel demands one of a sender.
	f.Offload.HdrLen = f.View.Payload
	b := f.Head(frame.OffloadLen)
	f.Offload.Encode(b)
	s.to.Protocol = bigEndian16(binary.BigEndian.Uint16(b[frame.OffloadLen+12:]))
	if err := unix.Sendto(s.sock, b, 0, &s.to); err != nil {
		t.Fatalf("send %+v: %v", f.Offload, err)
	}
	var out [][]byte
	buf := make([]byte, 70000)
	for deadline := time.Now().Add(2 * time.Second); len(out) < n; {
		k, err := unix.Read(s.tap, buf)
		if err == unix.EAGAIN && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", len(out), n, err)
		}
		if bytes.Equal(buf[:6], dstMAC[:]) { // not the kernel's own chatter
			out = append(out, bytes.Clone(buf[:k]))
		}
	}
	return out
}

func bigEndian16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// TestSplitKernel compares the splitter with the kernel, byte for byte.
func TestSplitKernel(t *testing.T) {
	nettest.Namespaced(t, splitKernel)
}

func splitKernel(t *testing.T) {
	k, sp := newSegmenter(t), offload.NewSplitter()
	for name, s := range supers() {
		t.Run(name, func(t *testing.T) {
			f := s.frame(t)
			sp.Reset()
			got, r := sp.Split(f)
			if r != frame.NotDropped {
				t.Fatal(r)
			}
			checkSplit(t, f, got, k.cut(t, f, len(got)))
		})
	}
}

// TestMergeKernel hands the kernel merged superframes: it must make of them what
// went in.
func TestMergeKernel(t *testing.T) {
	nettest.Namespaced(t, mergeKernel)
}

func mergeKernel(t *testing.T) {
	k, m := newSegmenter(t), offload.NewMerger()
	for name, s := range supers() {
		t.Run(name, func(t *testing.T) {
			ws, r := offload.NewSplitter().Split(s.frame(t))
			if r != frame.NotDropped {
				t.Fatal(r)
			}
			ws = ws[:min(len(ws), frame.MaxBatch)]
			var fs []*frame.Frame
			for i := range ws {
				fs = append(fs, &ws[i])
			}
			at := 0
			for i, f := range m.Merge(fs, allCaps) {
				mustParse(t, f)
				for _, w := range k.cut(t, f, m.Count(i)) {
					if !bytes.Equal(w, ws[at].Bytes()) {
						t.Fatalf("frame %d\n%x, want\n%x", at, w, ws[at].Bytes())
					}
					at++
				}
			}
			if at != len(fs) || m.Count(0) < 2 && s.tcpOpts == 0 && !s.ipOpts && !s.dstOpts && !s.cwr {
				t.Fatalf("%d of %d frames, the first output stands for %d", at, len(fs), m.Count(0))
			}
		})
	}
}
