package vxlan

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// What one worker has sealed comes to one reader in the order it was sent in, what
// different workers have to different ones, and all of it from one port to one port.
func TestReaders(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{{"IPv4", "127.0.0.1", "127.0.0.2"}, {"IPv6", "::1", "::1"}} {
		t.Run(c.name, func(t *testing.T) {
			a, b := sealedPair(t, c.from, c.to, true, func(c *Config) { c.Readers, c.Workers = 2, 3 })
			if len(b.Readers()) != 2 {
				t.Fatalf("%d readers", len(b.Readers()))
			}
			var sent [2][][]byte
			for worker, q := range a.NewSealedLink(b.Addr(), testVNI, a.peer).Queues() {
				data := append(udp(20, 1200, uint16(1+worker)), udp(7, 90, uint16(1+worker))...)
				if refused := writeAll(t, q, list(t, data...)); len(refused) != 0 {
					t.Fatal(refused)
				}
				sent[worker%2] = append(sent[worker%2], data...)
			}
			for i, r := range b.Readers() {
				came := collect(t, r, len(sent[i]))
				sameFrames(t, came, sent[i])
				for k := range min(len(came), len(sent[i])) {
					if came[k].data != string(sent[i][k]) {
						t.Fatalf("reader %d: frame %d is out of order", i, k)
					}
				}
				if r.sender != a.Addr() {
					t.Errorf("reader %d: it came from %v, want %v", i, r.sender, a.Addr())
				}
				if bytes, frames := r.Received(); bytes == 0 || frames != uint64(len(sent[i])) {
					t.Errorf("reader %d: %d bytes, %d frames", i, bytes, frames)
				}
			}
			conserved(t, b.Socket)
		})
	}
}

// What is no ESP comes to the first reader.
func TestReadersControl(t *testing.T) {
	said := 0
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true, func(c *Config) {
		c.Readers, c.Marked = 3, func(netip.AddrPort, []byte) { said++ }
	})
	for _, datagram := range [][]byte{{0xff}, {0, 0, 0, 0, 'h', 'i'}, {}, {1, 2, 3}} {
		if err := a.Send(b.Addr(), datagram); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, b.Readers()[0], 0)
	if st := b.Stats(); said != 1 || st.Control != 2 || st.Datagrams != 4 {
		t.Errorf("%d announcements; %+v", said, st)
	}
	for i, r := range b.Readers()[1:] {
		if wait(t, r.FD(), 20*time.Millisecond) {
			t.Errorf("reader %d has something", i+1)
		}
	}
}

// A port that readers share is nobody else's, and is free once they are closed.
func TestReadersPort(t *testing.T) {
	share := func(c *Config) { c.ESP, c.Readers = true, 4 }
	s := listen(t, "127.0.0.1", share)
	c := Config{Addr: s.Addr(), ESP: true, Readers: 4}
	if other, err := Listen(c); !errors.Is(err, unix.EADDRINUSE) {
		if err == nil {
			other.Close()
		}
		t.Errorf("another on the same port: %v", err)
	}
	s.Close()
	for i, r := range s.Readers() {
		if n, err := r.ReadBatch(frame.NewBatch()); r.FD() != -1 || n != 0 || err == nil {
			t.Errorf("reader %d of a closed socket: descriptor %d, %d, %v", i, r.FD(), n, err)
		}
	}
	again, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	for _, c := range []Config{{Readers: maxReaders + 1, ESP: true}, {Readers: -1, ESP: true}} {
		c.Addr = s.Addr()
		if _, err := Listen(c); err == nil {
			t.Errorf("%d readers were accepted", c.Readers)
		}
	}
	for _, c := range []Config{{Readers: 4}, {ESP: true}} { // in clear; by default
		c.Addr = s.Addr()
		s, err := Listen(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Readers()) != 1 {
			t.Errorf("%d readers of %+v", len(s.Readers()), c)
		}
		s.Close()
	}
}

// Descriptors on one port are told apart on the way by the time to live, or hop limit,
// of what leaves by them, and nothing else.
func TestReadersTimeToLive(t *testing.T) {
	for _, c := range []struct {
		addr          string
		level, option int
	}{{"127.0.0.1", unix.IPPROTO_IP, unix.IP_TTL}, {"::1", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}} {
		s := listen(t, c.addr, func(c *Config) { c.ESP, c.Readers, c.Workers = true, 3, 5 })
		of := func(fd int) int {
			n, err := unix.GetsockoptInt(fd, c.level, c.option)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i, r := range s.Readers() {
			if got, want := of(r.FD()), of(s.FD())-i; got != want {
				t.Errorf("%s, reader %d: %d, want %d", c.addr, i, got, want)
			}
		}
		for i, tx := range s.senders {
			if tx.home != i%3 || s.fds[tx.home] != s.Readers()[i%3].FD() {
				t.Errorf("%s: worker %d sends from descriptor %d", c.addr, i, tx.home)
			}
		}
	}
}
