package uplink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/nettest"
)

// TestTCPTimeout: nobody answers outside, and the host's kernel gives up.
func TestTCPTimeout(t *testing.T) {
	nettest.CheckLeaks(t)
	blackHole(t)
	const sysctl = "/proc/sys/net/ipv4/tcp_syn_retries"
	before, err := os.ReadFile(sysctl)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sysctl, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(sysctl, before, 0)
	h := newHost(t, nil)
	g := newGuest(t, newWire(t, h), alice4)
	began := time.Now()
	_, err = g.dial("192.0.2.1:80") // gives up itself after 5 s
	if err == nil || !strings.Contains(err.Error(), "no route") {
		t.Errorf("%v after %v, want that of an ICMP error", err, time.Since(began))
	}
	if n := h.Stats().Counts["connect-timeout"]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestTCPMany: many connections at a time, out and in, some of which are torn
// down. What those that end in order bring is what was sent, and nothing is left.
func TestTCPMany(t *testing.T) {
	nettest.CheckLeaks(t)
	h := newHost(t, nil)
	w := newWire(t, h)
	g := newGuest(t, w, alice4)
	mirror := func(c net.Conn) { // sends back what it gets, behind its length
		defer c.Close()
		b, err := io.ReadAll(c)
		if err == nil {
			c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
		}
	}
	server := tcpServer(t, outside4, func(c *net.TCPConn) { mirror(c) })
	l := g.listen("172.18.0.2:80")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go mirror(c)
		}
	}()
	port := publish(t, h, "tcp", outside4+":0", "172.18.0.2:80")
	one := func(i int) error {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		var c net.Conn
		var err error
		if i%2 == 0 {
			c, err = g.dial(server)
		} else {
			c, err = net.Dial("tcp", port.Addr().String())
		}
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(60 * time.Second))
		data := pattern(r.IntN(1 << (4 + r.IntN(16))))
		if r.IntN(4) == 0 {
			c.Write(data)
			return nil // closed with what comes unread
		}
		go func() {
			for b := data; len(b) > 0; {
				n := min(len(b), 1+r.IntN(20000))
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
				b = b[n:]
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil {
			return err
		}
		if len(got) < 4 || int(binary.BigEndian.Uint32(got)) != len(data) || !bytes.Equal(got[4:], data) {
			return fmt.Errorf("%d bytes came back for %d", len(got), len(data))
		}
		return nil
	}
	var all sync.WaitGroup
	next := make(chan int)
	for range 32 {
		all.Go(func() {
			for i := range next {
				if err := one(i); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	for i := range 400 {
		next <- i
	}
	close(next)
	all.Wait()
	if !eventually(func() bool { return h.Stats().TCP == 0 && h.flows.Load() == 0 }) {
		t.Errorf("left: %+v", h.Flows())
	}
	c := h.client(alice4.IP, false)
	if c.streams != [2]int{} || c.opening != 0 {
		t.Errorf("counted: %v, %d under way", c.streams, c.opening)
	}
	c.mu.Unlock()
}
