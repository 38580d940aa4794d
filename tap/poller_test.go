package tap

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func ifindex(name string) (int, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, err
	}
	return link.Attrs().Index, nil
}

func TestPoller(t *testing.T) {
	s := newSpace(t)
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const big = 1<<63 | 1<<31 | 5 // both halves of a token look negative
	tokens := []uint64{0, 1, big}
	var devices []*Device
	for _, token := range tokens {
		d := openIn(t, s, Options{}, "")
		if err := p.Add(d.Queues()[0].FD(), token); err != nil {
			t.Fatal(err)
		}
		s.do(func() { sendRaw(t, d.Name(), 1) })
		devices = append(devices, d)
	}
	if err := p.Add(devices[0].Queues()[0].FD(), wakeToken); err == nil {
		t.Error("the reserved token was taken")
	}
	wait := func(room int) []uint64 {
		ready := make([]uint64, room)
		n, err := p.Wait(ready, 0)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(ready[:n])
		return ready[:n]
	}
	if got := wait(8); !slices.Equal(got, tokens) {
		t.Errorf("ready: %v, want %v", got, tokens)
	}
	if got := wait(8); !slices.Equal(got, tokens) {
		t.Errorf("what is unread is to be reported again, got %v", got)
	}
	seen := map[uint64]bool{}
	for range 12 {
		for _, token := range wait(2) {
			seen[token] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("with room for 2 of 3, only %v were ever reported", seen)
	}
	if err := p.Remove(devices[1].Queues()[0].FD()); err != nil {
		t.Fatal(err)
	}
	if got := wait(8); !slices.Equal(got, []uint64{0, big}) {
		t.Errorf("after removal: %v", got)
	}
	if err := p.Remove(devices[1].Queues()[0].FD()); err == nil {
		t.Error("removed twice")
	}
}

func TestPollerWake(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ready := make([]uint64, 1)
	start := time.Now()
	if n, err := p.Wait(ready, 20); n != 0 || err != nil {
		t.Errorf("timeout: %d, %v", n, err)
	}
	if d := time.Since(start); d < 19*time.Millisecond {
		t.Errorf("returned after %v, 20 ms were asked for", d)
	}
	p.Wake()
	p.Wake()
	if n, err := p.Wait(ready, -1); n != 0 || err != nil {
		t.Errorf("woken before: %d, %v", n, err)
	}
	done := make(chan error)
	go func() {
		_, err := p.Wait(ready, -1)
		done <- err
	}()
	select {
	case <-done:
		t.Error("two wakes were to be one")
	case <-time.After(20 * time.Millisecond):
	}
	if err := p.Wake(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := p.Wake(); err != os.ErrClosed {
		t.Errorf("wake after close: %v", err)
	}
	if _, err := p.Wait(ready, 0); err != os.ErrClosed {
		t.Errorf("wait after close: %v", err)
	}
	if _, err := p.Wait(nil, 0); err == nil {
		t.Error("no room: no error")
	}
}
