package node

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"weft/internal/cnm"
)

// What packet(7) calls these; package syscall does not know them.
const (
	solPacket     = 263
	packetVnetHdr = 15
)

// hostile writes frames nobody should send to an interface, as they are and
// behind virtio headers that lie as much as the kernel lets pass, and prints how
// many it took.
func hostile(ifName string) error {
	i, err := net.InterfaceByName(ifName)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(7, 7))
	for _, vnet := range []bool{false, true} {
		fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		if vnet {
			if err := syscall.SetsockoptInt(fd, solPacket, packetVnetHdr, 1); err != nil {
				return err
			}
		}
		to := &syscall.SockaddrLinklayer{Ifindex: i.Index}
		taken := 0
		for range 20000 {
			b := hostileFrame(r, i.HardwareAddr)
			if vnet {
				b = append(hostileHeader(r, len(b)), b...)
			}
			if syscall.Sendto(fd, b, 0, to) == nil {
				taken++
			}
		}
		fmt.Printf("vnet %v: %d taken\n", vnet, taken)
	}
	return nil
}

// hostileFrame is a frame that is right up to some point and noise after it.
func hostileFrame(r *rand.Rand, mac net.HardwareAddr) []byte {
	b := make([]byte, 14+r.IntN([]int{2, 60, 1500, 60000}[r.IntN(4)]))
	for at := 12; at+1 < len(b); at += 2 {
		binary.BigEndian.PutUint16(b[at:], uint16(r.Uint32()))
	}
	for at := range 6 {
		b[at] = 0xff
	}
	if r.IntN(2) == 0 { // a known unicast address
		copy(b, []byte{2, 0x42, 10, 66, 30, byte(1 + r.IntN(4))})
	}
	copy(b[6:], mac)
	types := []uint16{0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x0003, uint16(r.Uint32())}
	binary.BigEndian.PutUint16(b[12:], types[r.IntN(len(types))])
	if len(b) < 60 {
		return b
	}
	if r.IntN(2) == 0 { // go further: a header that could be one
		first := map[uint16]byte{0x0800: byte(0x40 | 4 + r.IntN(4)), 0x86dd: 0x60}[binary.BigEndian.Uint16(b[12:])]
		b[14] = first
		if first&0xf0 == 0x40 {
			copy(b[26:], []byte{10, 66, 30, 3})
			b[23] = []byte{1, 6, 17, 47}[r.IntN(4)]
			binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
			binary.BigEndian.PutUint16(b[20:], 0)
		}
	}
	return b
}

// hostileHeader is a virtio_net_hdr (flags, type, header length, segment size,
// checksum start and offset) for a frame of n bytes.
func hostileHeader(r *rand.Rand, n int) []byte {
	any := func() uint16 {
		return []uint16{0, 1, 14, 34, 54, uint16(n - 1), uint16(n), uint16(n + 1), 1448, 0xffff, uint16(r.Uint32())}[r.IntN(11)]
	}
	h := []byte{byte(r.IntN(8)), []byte{0, 1, 3, 4, 5, 0x81, 0x84, byte(r.Uint32())}[r.IntN(8)]}
	for range 4 {
		h = binary.NativeEndian.AppendUint16(h, any())
	}
	return h
}

// flap sets an interface down for a moment, and up again.
func flap(ifName string) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for _, flags := range []uint16{0, syscall.IFF_UP} {
		var request [40]byte // struct ifreq: name and flags
		copy(request[:syscall.IFNAMSIZ-1], ifName)
		binary.NativeEndian.PutUint16(request[syscall.IFNAMSIZ:], flags)
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return errno
		}
		time.Sleep(300 * time.Millisecond)
	}
	return nil
}

// An interface that is down takes nothing, and is a port again when it is up.
func TestInterfaceDown(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.31.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	down := make(chan string, 1)
	go func() {
		out, _ := execute(t, n, "rose", "flap", "eth0")
		down <- out
	}()
	execute(t, n, "tulip", "ping", addr4(rose, "front").String()) // into the gap, or not
	if out := <-down; out != "" {
		t.Fatal(out)
	}
	reach(t, n, "tulip", addr4(rose, "front"), true)
	if got := mustFind(t, n, "rose").Endpoints; len(got) != 1 {
		t.Errorf("endpoints: %+v", got)
	}
}

// Whatever a sandbox writes to its interface, the switch counts it, others are
// served and the daemon lives.
func TestHostileFrames(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.30.0/24")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "evil", Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	out, code := execute(t, n, "evil", "hostile", "eth0")
	if code != 0 || strings.Contains(out, ": 0 taken") {
		t.Fatalf("nothing was sent: %s", out)
	}
	reach(t, n, "tulip", addr4(rose, "front"), true)
	reach(t, n, "evil", addr4(rose, "front"), true)
	for _, s := range n.Stats() {
		if s.Sandbox != "evil" {
			continue
		}
		total := uint64(0)
		for _, count := range s.Drops {
			total += count
		}
		t.Logf("%s%d frames came, dropped: %v", out, s.RxFrames, s.Drops)
		if total < 1000 || total > s.RxFrames || len(s.Drops) < 3 {
			t.Errorf("%d frames came, %d dropped: %v", s.RxFrames, total, s.Drops)
		}
	}
}
