package uplink

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// ip runs ip(8), one command after the other.
func ip(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
}

// veth makes a pair u, k that is up, with fixed MACs, on which the kernel says nothing
// by itself.
func veth(t testing.TB) {
	t.Helper()
	ip(t, "link add u address 02:00:00:00:00:0a type veth peer name k address 02:00:00:00:00:0b",
		"link set u addrgenmode none", "link set k addrgenmode none", "link set u up", "link set k up")
	// The kernel notices in its own time that there is a link, and until then drops what is sent.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		u, err1 := netlink.LinkByName("u")
		k, err2 := netlink.LinkByName("k")
		if err1 != nil || err2 != nil || time.Now().After(end) {
			t.Fatalf("no link between u and k: %v, %v", err1, err2)
		}
		if u.Attrs().OperState == netlink.OperUp && k.Attrs().OperState == netlink.OperUp {
			return
		}
	}
}

var (
	macU, macK = frame.MAC{2, 0, 0, 0, 0, 0xa}, frame.MAC{2, 0, 0, 0, 0, 0xb}
	macOwn     = frame.MAC{2, 0, 0, 0, 0, 0xc}
)

func openTest(t testing.TB, c PacketConfig) *Packet {
	t.Helper()
	p, err := OpenPacket(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

type got struct {
	data string
	off  frame.Offload
}

// receive reads until n frames have come, and a little longer.
func receive(t testing.TB, p *Packet, n int) (all []got) {
	t.Helper()
	b := frame.NewBatch()
	for end := time.Now().Add(5 * time.Second); ; {
		wait := 30 * time.Millisecond
		if len(all) < n {
			wait = time.Until(end)
		}
		fds := []unix.PollFd{{Fd: int32(p.FD()), Events: unix.POLLIN}}
		if ready, err := unix.Poll(fds, int(wait.Milliseconds())); ready == 0 || err != nil && err != unix.EINTR {
			return all
		}
		b.Reset()
		count, err := p.ReadBatch(b)
		if err != nil || count != b.Len() {
			t.Fatalf("ReadBatch = %d, %v with a batch of %d", count, err, b.Len())
		}
		for i := range count {
			all = append(all, got{string(b.At(i).Bytes()), b.At(i).Offload})
		}
	}
}

// send writes frames that all have to leave.
func send(t testing.TB, p *Packet, fs ...*frame.Frame) {
	t.Helper()
	if n, err := p.WriteBatch(fs); n != len(fs) || err != nil {
		t.Fatalf("WriteBatch = %d, %v", n, err)
	}
}

// made returns a parsed frame.
func made(t testing.TB, data []byte, o frame.Offload) *frame.Frame {
	t.Helper()
	f := frame.NewBatch().Append(data)
	f.Offload = o
	if r := f.Parse(); r != frame.NotDropped {
		t.Fatalf("parse: %v", r)
	}
	return f
}
