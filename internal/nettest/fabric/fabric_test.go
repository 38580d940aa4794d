package fabric

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	one = netip.MustParseAddrPort("10.0.0.1:7946")
	two = netip.MustParseAddrPort("10.0.0.2:7946")
)

// received drains a port.
func received(p *Port) (n int) {
	for {
		select {
		case <-p.PacketCh():
			n++
		default:
			return n
		}
	}
}

func TestDatagrams(t *testing.T) {
	for _, c := range []struct {
		name      string
		loss, dup float64
		split     bool
		want      int
	}{
		{"all arrive", 0, 0, false, 100},
		{"all are lost", 1, 0, false, 0},
		{"all are doubled", 0, 1, false, 200},
		{"cut off", 0, 0, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := New(1)
				a, b := f.Port(one), f.Port(two)
				f.Faults(c.loss, c.dup, time.Second)
				if c.split {
					f.Split(one.Addr())
				}
				for range 100 {
					if _, err := a.WriteTo([]byte("x"), two.String()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if got := received(b); got != c.want {
					t.Errorf("%d arrived, expected %d", got, c.want)
				}
				if sent := f.Total(); sent.Datagrams != 100 || sent.Wire() != 100*29 {
					t.Errorf("counted %+v", sent)
				}
				if f.Split(); f.Total() != (Traffic{}) {
					t.Error("the counts were not reset")
				}
			})
		})
	}
}

// TestOvertaking: with a delay, datagrams come in another order; the same seed makes
// the same order.
func TestOvertaking(t *testing.T) {
	order := func(seed uint64) (got []byte) {
		synctest.Test(t, func(t *testing.T) {
			f := New(seed)
			a, b := f.Port(one), f.Port(two)
			f.Faults(0, 0, time.Second)
			for i := range byte(50) {
				a.WriteTo([]byte{i}, two.String())
			}
			for range 50 {
				got = append(got, (<-b.PacketCh()).Buf...)
			}
		})
		return got
	}
	first := order(1)
	for i := range first {
		if int(first[i]) != i {
			if !bytes.Equal(first, order(1)) || bytes.Equal(first, order(2)) {
				t.Error("the order is not the seed's")
			}
			return
		}
	}
	t.Error("nothing was overtaken")
}

// streams returns both ends of a stream between the two hosts.
func streams(t *testing.T, f *Fabric) (here, there net.Conn) {
	l, err := f.Listen(two)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err = f.Dial(t.Context(), one.Addr(), two.String())
	if err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return here, there
}

// TestStream: bytes arrive in order through a cut, more than the window holds, then
// the end.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(1)
		here, there := streams(t, f)
		want := make([]byte, 5*window+1)
		for i := range want {
			want[i] = byte(i / 7)
		}
		f.Split(one.Addr())
		go func() {
			here.Write(want)
			here.Close()
		}()
		there.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := there.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes and %v across the cut", n, err)
		}
		there.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Hour, func() { f.Split() })
		got, err := io.ReadAll(there)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		f.Split(one.Addr())
		if _, err := there.Write([]byte("x")); err != nil {
			t.Errorf("across a cut nobody tells of the end: %v", err)
		}
		f.Split()
		if _, err := there.Write([]byte("x")); err == nil {
			t.Error("wrote to who had closed")
		}
		there.Close()
		if sent := f.Total(); sent.Streams != 1 || sent.StreamBytes != len(want)+1 || len(f.streams) != 0 {
			t.Errorf("counted %+v, %d streams left", sent, len(f.streams))
		}
	})
}

// TestFullWindow: who writes to one that does not read waits for its deadline.
func TestFullWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, _ := streams(t, New(1))
		here.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := here.Write(make([]byte, window+1)); n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
	})
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(1)
		if _, err := f.Dial(t.Context(), one.Addr(), two.String()); err == nil {
			t.Error("nobody listens")
		}
		l, err := f.Listen(two)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Listen(two); err == nil {
			t.Error("listened twice")
		}
		f.Split(two.Addr())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Dial(ctx, one.Addr(), two.String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("across a cut: %v", err)
		}
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
	})
}
