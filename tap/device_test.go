package tap

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// broadcast is a minimal frame that every station takes.
func broadcast() *frame.Frame {
	b := frame.NewBatch()
	data := make([]byte, 60)
	copy(data, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5}) // IEEE 802 local experimental
	return b.Append(data)
}

func TestOpenErrors(t *testing.T) {
	s := newSpace(t)
	openIn(t, s, Options{Name: "taken"}, "")
	tests := []struct {
		name    string
		options Options
		want    string
	}{
		{"name too long", Options{Name: "sixteen-bytes-xx"}, "longer than 15"},
		{"negative queues", Options{Queues: -1}, "-1 queues"},
		{"too many queues", Options{Queues: 257}, "257 queues"},
		{"in use", Options{Name: "taken"}, "device or resource busy"},
		{"exclusive", Options{Name: "taken", Exclusive: true}, "device or resource busy"},
		{"another kind of interface", Options{Name: "lo"}, "lo: open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := openFiles(t)
			var err error
			s.do(func() { _, err = Open(tt.options) })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors open, %d before", after, before)
			}
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// What the sample finds is that this kernel takes what it grants.
func TestSampleProvesKinds(t *testing.T) {
	s := newSpace(t)
	var d *Device
	var err error
	s.do(func() { d, err = Open(Options{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Rung() != USO || d.Caps() != USO.caps() {
		t.Errorf("rung %s, caps %b; want %s, %b", d.Rung(), d.Caps(), USO, USO.caps())
	}
	if got := frame.Caps(d.proven.Load()); got != USO.caps()&^frame.CapCsum {
		t.Errorf("proven %b, want all kinds", got)
	}
	// An untruthful header must be told from an honest one.
	bad := sampleFrame(frame.ProtoUDP)
	bad[6], bad[7] = 0xff, 0xff // checksum start beyond the frame
	if err := writeFrame(d.queues[0].FD(), bad); err != ErrRefused {
		t.Errorf("a bad sample is answered %v, want %v", err, ErrRefused)
	}
}

func TestCloseTwice(t *testing.T) {
	d := openIn(t, newSpace(t), Options{Queues: 2}, "")
	q := d.Queues()[1]
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if q.FD() != -1 {
		t.Errorf("descriptor %d after close", q.FD())
	}
	if _, err := q.ReadBatch(frame.NewBatch()); err != os.ErrClosed {
		t.Errorf("read: %v, want %v", err, os.ErrClosed)
	}
	if _, err := q.WriteBatch([]*frame.Frame{broadcast()}); err != os.ErrClosed {
		t.Errorf("write: %v, want %v", err, os.ErrClosed)
	}
	if _, err := d.Files(); err == nil {
		t.Error("Files of a closed device: no error")
	}
}

// Files passes a device on; the copy works after the original is closed.
func TestAdopt(t *testing.T) {
	for _, rung := range []Rung{USO, TSO, Plain, Water} {
		t.Run(rung.String(), func(t *testing.T) {
			s := newSpace(t)
			d := openIn(t, s, Options{Name: "eth0", Queues: 2, Highest: rung}, "10.9.0.1")
			files, err := d.Files()
			if err != nil {
				t.Fatal(err)
			}
			var fds []int
			for _, f := range files {
				fd, err := unix.Dup(int(f.Fd()))
				if err != nil {
					t.Fatal(err)
				}
				fds = append(fds, fd)
				f.Close()
			}
			d.Close()
			a, err := Adopt("eth0", fds, USO)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			// USO is asked for again, whatever the first owner chose.
			want := map[Rung]Rung{USO: USO, TSO: USO, Plain: Plain, Water: Plain}[rung]
			if a.Rung() != want || len(a.Queues()) != 2 || a.Name() != "eth0" {
				t.Errorf("adopted %s with %d queues on rung %s, want %s", a.Name(), len(a.Queues()), a.Rung(), want)
			}
			sb := newSpace(t)
			b := openIn(t, sb, Options{Highest: max(rung, want)}, "10.9.0.2")
			connect(t, a, b)
			if err := transfer(t, s, sb, "10.9.0.2", 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who takes a device over may want fewer offloads than it was made with: none are
// read or written any more, whether it is adopted or attached to by its name.
func TestLower(t *testing.T) {
	for _, c := range []struct{ made, wanted, want Rung }{
		{USO, TSO, TSO}, {USO, Plain, Plain}, {TSO, Water, Plain}, {Plain, USO, Plain}, {Plain, Water, Water},
	} {
		t.Run(c.made.String()+" to "+c.wanted.String(), func(t *testing.T) {
			s, other := newSpace(t), newSpace(t)
			d := openIn(t, s, Options{Name: "eth0", Highest: c.made}, "10.9.0.1")
			fd, err := unix.Dup(d.Queues()[0].FD())
			if err != nil {
				t.Fatal(err)
			}
			a, err := Adopt("eth0", []int{fd}, c.wanted)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if a.Rung() != c.want || a.Caps() != c.want.caps() {
				t.Errorf("adopted on rung %s with caps %b, want %s", a.Rung(), a.Caps(), c.want)
			}
			lowered(t, s, other, a, c.want)
		})
		t.Run(c.made.String()+" reopened as "+c.wanted.String(), func(t *testing.T) {
			s, other := newSpace(t), newSpace(t)
			openIn(t, s, Options{Name: "eth0", Highest: c.made, Persist: true}, "10.9.0.1").Close()
			d := openIn(t, s, Options{Name: "eth0", Highest: c.wanted}, "")
			if d.Rung() != c.wanted {
				t.Errorf("reopened on rung %s, want %s", d.Rung(), c.wanted)
			}
			lowered(t, s, other, d, c.wanted)
		})
	}
}

// lowered sends both ways between s, which is behind d, and another namespace.
func lowered(t *testing.T, s, other *space, d *Device, want Rung) {
	t.Helper()
	c := connect(t, d, openIn(t, other, Options{Highest: max(want, TSO)}, "10.9.0.2"))
	for _, err := range []error{transfer(t, s, other, "10.9.0.2", 1<<20), transfer(t, other, s, "10.9.0.1", 1<<20)} {
		if err != nil {
			t.Error(err)
		}
	}
	c.stop()
	if got := c.kinds[frame.GSOTCP4] > 0; got != want.header() {
		t.Errorf("superframes on rung %s: %v", want, c.kinds)
	}
}

func TestParseRung(t *testing.T) {
	for r := USO; r <= Water; r++ {
		if got, err := ParseRung(r.String()); got != r || err != nil {
			t.Errorf("%s: %v, %v", r, got, err)
		}
	}
	if _, err := ParseRung("gso"); err == nil || !strings.Contains(err.Error(), "uso, tso, plain or water") {
		t.Errorf("gso: %v", err)
	}
}

func TestAdoptErrors(t *testing.T) {
	pipe := func() int {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		unix.Close(p[1])
		return p[0]
	}
	unattached := func() int {
		fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	tests := []struct {
		name string
		fds  []int
		want string
	}{
		{"none", nil, "no descriptors"},
		{"pipe", []int{pipe()}, "no open TAP"},
		{"no interface", []int{unattached()}, "no open TAP"},
		{"closed", []int{1 << 20}, "no open TAP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Adopt("x", tt.fds, USO); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			for _, fd := range tt.fds {
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
					t.Errorf("descriptor %d was left open", fd)
				}
			}
		})
	}
}

// A persistent interface outlives its descriptors and is attached to by name,
// also while it is up.
func TestPersist(t *testing.T) {
	for _, rung := range []Rung{USO, Water} {
		t.Run(rung.String(), func(t *testing.T) {
			s := newSpace(t)
			d := openIn(t, s, Options{Name: "keep", Persist: true, Highest: rung}, "10.9.0.1")
			d.Close()
			d = openIn(t, s, Options{Name: "keep", Highest: rung}, "")
			if err := d.Persist(false); err != nil {
				t.Fatal(err)
			}
			d.Close()
			var err error
			s.do(func() { _, err = netlink.LinkByName("keep") })
			if rung == Water {
				return // the library's own open clears the flag
			}
			if !errors.As(err, new(netlink.LinkNotFoundError)) {
				t.Errorf("after persistence was switched off: %v", err)
			}
		})
	}
}

func TestInterfaceDown(t *testing.T) {
	s := newSpace(t)
	d := openIn(t, s, Options{}, "")
	s.do(func() {
		link, err := netlink.LinkByName(d.Name())
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err != nil {
			t.Error(err)
		}
	})
	for range 2 * refusals {
		if n, err := d.Queues()[0].WriteBatch([]*frame.Frame{broadcast()}); n != 0 || err != ErrRefused {
			t.Fatalf("write to an interface that is down: %d, %v", n, err)
		}
	}
	if d.Rung() != USO {
		t.Errorf("rung %s, an interface that is down says nothing about offloads", d.Rung())
	}
}

func TestInterfaceDeleted(t *testing.T) {
	s := newSpace(t)
	d := openIn(t, s, Options{}, "")
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(d.Queues()[0].FD(), 7); err != nil {
		t.Fatal(err)
	}
	s.do(func() {
		link, err := netlink.LinkByName(d.Name())
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			t.Error(err)
		}
	})
	ready := make([]uint64, 4)
	if n, err := p.Wait(ready, 1000); err != nil || !slices.Equal(ready[:n], []uint64{7}) {
		t.Errorf("wait: %v, %v: the waiter must learn of it", ready[:n], err)
	}
	b := frame.NewBatch()
	var n int
	for range 3 { // frames that were queued before may come first
		if n, err = d.Queues()[0].ReadBatch(b); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrGone) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %d, %v", n, err)
	}
	if _, err := d.Queues()[0].WriteBatch([]*frame.Frame{broadcast()}); !errors.Is(err, ErrGone) {
		t.Errorf("write: %v", err)
	}
}

func TestProbe(t *testing.T) {
	var r Report
	newSpace(t).do(func() { r = Probe() })
	if r.Open != "" || len(r.Rungs) != 4 || r.Rungs[0] != (RungReport{Rung: "uso"}) || r.MultiQueue != "" || r.NAPI != "" || r.Kernel == "" {
		t.Errorf("this host grants all, the report says %+v", r)
	}
	for _, rung := range r.Rungs {
		if rung.Error != "" {
			t.Errorf("rung %s: %s", rung.Rung, rung.Error)
		}
	}
}

func TestKnownBug(t *testing.T) {
	tests := []struct {
		release string
		want    string // part of the text, empty for none
	}{
		{"6.8.4-amd64", "6.8.5"},
		{"6.8.5", ""},
		{"6.18.44-fc", ""},
		{"7.0.0-14-generic", "7.1.4"},
		{"7.1.4", "7.1.4"},
		{"7.1.5", ""},
		{"7.2-rc1", ""},
	}
	for _, tt := range tests {
		if got := knownBug(tt.release); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q in it", tt.release, got, tt.want)
		}
	}
}
