package tap

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// pattern returns size bytes that do not repeat, the same ones every time.
func pattern(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func receive(l net.Listener, size int) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, pattern(size)) {
		return fmt.Errorf("received %d bytes that differ from the %d sent", len(got), size)
	}
	return nil
}

// Every rung carries real traffic between two kernels' network stacks.
func TestTraffic(t *testing.T) {
	const size = 2 << 20
	tests := []struct {
		name    string
		options Options
		gso     []frame.GSO // kinds of superframe that must be seen
		rung    Rung
	}{
		{"uso", Options{}, []frame.GSO{frame.GSOTCP4, frame.GSOTCP6, frame.GSOUDP}, USO},
		{"tso", Options{Highest: TSO}, []frame.GSO{frame.GSOTCP4, frame.GSOTCP6}, TSO},
		{"plain", Options{Highest: Plain}, nil, Plain},
		{"water", Options{Highest: Water}, nil, Water},
		{"napi", Options{NAPI: true}, []frame.GSO{frame.GSOTCP4, frame.GSOTCP6, frame.GSOUDP}, USO},
		{"multi-queue", Options{Queues: 3}, []frame.GSO{frame.GSOTCP4, frame.GSOTCP6, frame.GSOUDP}, USO},
		{"plain multi-queue", Options{Highest: Plain, Queues: 2}, nil, Plain},
		{"water multi-queue", Options{Highest: Water, Queues: 2}, nil, Water},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sa, sb := newSpace(t), newSpace(t)
			a := openIn(t, sa, tt.options, "10.9.0.1")
			b := openIn(t, sb, tt.options, "10.9.0.2")
			if a.Rung() != tt.rung {
				t.Fatalf("opened on rung %s, want %s", a.Rung(), tt.rung)
			}
			c := connect(t, a, b)
			for _, addr := range []string{"10.9.0.2", "fd00::2"} {
				if err := transfer(t, sa, sb, addr, size); err != nil {
					t.Errorf("TCP to %s: %v", addr, err)
				}
				if err := volley(sa, sb, addr); err != nil {
					t.Errorf("UDP to %s: %v", addr, err)
				}
			}
			c.stop()
			if c.err != nil || c.lost > 0 {
				t.Errorf("worker: error %v, %d frames lost", c.err, c.lost)
			}
			checkKinds(t, c, tt.gso, size)
		})
	}
}

// checkKinds compares the superframes seen with those that had to be.
func checkKinds(t *testing.T, c *cable, want []frame.GSO, size int) {
	t.Helper()
	for _, g := range want {
		if c.kinds[g] == 0 {
			t.Errorf("no superframe of GSO type %d among %v", g, c.kinds)
		}
		delete(c.kinds, g)
	}
	delete(c.kinds, frame.GSONone)
	if len(c.kinds) > 0 {
		t.Errorf("superframes of unexpected GSO types: %v", c.kinds)
	}
	// Two transfers in segments of 1448 bytes or less, unless whole.
	if single := c.frames > 2*size/1500; single != (len(want) == 0) {
		t.Errorf("%d frames for 2 × %d bytes with superframes %v", c.frames, size, want)
	}
}

// volley sends datagrams, left to the device to segment, and counts them on the
// other side.
func volley(from, to *space, addr string) error {
	const segment, count = 1000, 40
	var sink, source net.PacketConn
	var err error
	to.do(func() { sink, err = net.ListenPacket("udp", net.JoinHostPort(addr, "0")) })
	if err != nil {
		return err
	}
	defer sink.Close()
	network, any := "udp4", "0.0.0.0:0"
	if strings.Contains(addr, ":") {
		network, any = "udp6", "[::]:0"
	}
	from.do(func() { source, err = net.ListenPacket(network, any) })
	if err != nil {
		return err
	}
	defer source.Close()
	raw, err := source.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, segment) })
	if err != nil {
		return err
	}
	data := pattern(segment * count)
	if _, err := source.WriteTo(data, sink.LocalAddr()); err != nil {
		return err
	}
	sink.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 2000)
	for i := range count {
		n, _, err := sink.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("datagram %d of %d: %w", i, count, err)
		}
		if !bytes.Equal(buf[:n], data[i*segment:(i+1)*segment]) {
			return fmt.Errorf("datagram %d differs", i)
		}
	}
	return nil
}
