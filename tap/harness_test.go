package tap

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/frame"
)

// openIn opens a device inside a namespace, gives it an address and sets it up.
func openIn(t testing.TB, s *space, o Options, addr string) *Device {
	t.Helper()
	var d *Device
	var err error
	s.do(func() {
		if d, err = Open(o); err == nil {
			err = up(d.Name(), addr)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// up sets an interface of the calling thread's namespace up.
func up(name, addr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if addr != "" {
		for _, a := range []string{addr + "/24", "fd00::" + addr[len(addr)-1:] + "/64"} {
			parsed, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			parsed.Flags = 0x02 // IFA_F_NODAD
			if err := netlink.AddrAdd(link, parsed); err != nil {
				return fmt.Errorf("add %s: %w", a, err)
			}
		}
	}
	return netlink.LinkSetUp(link)
}

// A cable forwards between two devices, one worker for both, and counts what it
// carries.
type cable struct {
	poller *Poller
	ends   [2]*Device
	stop   func() // ends the worker; what it counted may be read afterwards
	done   sync.WaitGroup
	err    error

	kinds  map[frame.GSO]int
	frames int
	lost   int
}

func connect(t *testing.T, a, b *Device) *cable {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{poller: p, ends: [2]*Device{a, b}, kinds: map[frame.GSO]int{}}
	for end, d := range c.ends {
		for i, q := range d.Queues() {
			if err := p.Add(q.FD(), uint64(end)<<32|uint64(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := make(chan struct{})
	c.stop = sync.OnceFunc(func() {
		close(stop)
		p.Wake()
		c.done.Wait()
	})
	c.done.Add(1)
	go func() {
		defer c.done.Done()
		c.run(stop)
	}()
	t.Cleanup(func() {
		c.stop()
		p.Close()
	})
	return c
}

func (c *cable) run(stop chan struct{}) {
	batch := frame.NewBatch()
	ready := make([]uint64, 16)
	var list []*frame.Frame
	for {
		n, err := c.poller.Wait(ready, -1)
		if err != nil {
			c.err = err
			return
		}
		select {
		case <-stop:
			return
		default:
		}
		for _, token := range ready[:n] {
			end := token >> 32
			batch.Reset()
			if _, err := c.ends[end].Queues()[uint32(token)].ReadBatch(batch); err != nil {
				c.err = err
				return
			}
			list = list[:0]
			for i := range batch.Len() {
				f := batch.At(i)
				c.kinds[f.Offload.GSO.Kind()]++
				list = append(list, f)
			}
			c.frames += len(list)
			c.write(c.ends[1-end].Queues()[0], list)
		}
	}
}

func (c *cable) write(q *Queue, list []*frame.Frame) {
	for len(list) > 0 {
		n, err := q.WriteBatch(list)
		if err != nil {
			c.lost++
			n++
		}
		list = list[n:]
	}
}

// transfer sends size bytes over TCP from one namespace to the other.
func transfer(t *testing.T, from, to *space, addr string, size int) error {
	t.Helper()
	var l net.Listener
	var err error
	to.do(func() { l, err = net.Listen("tcp", net.JoinHostPort(addr, "0")) })
	if err != nil {
		return err
	}
	defer l.Close()
	got := make(chan error, 1)
	go func() { got <- receive(l, size) }()
	var c net.Conn
	from.do(func() { c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second) })
	if err != nil {
		return err
	}
	if _, err := c.Write(pattern(size)); err != nil {
		return err
	}
	c.Close()
	return <-got
}
