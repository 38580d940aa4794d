package tap

import (
	"testing"
	"time"
)

// A busy waiter looks again before it sleeps, an idle one does not.
func TestLinger(t *testing.T) {
	s := newSpace(t)
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d := openIn(t, s, Options{}, "")
	if err := p.Add(d.Queues()[0].FD(), 1); err != nil {
		t.Fatal(err)
	}
	ready := make([]uint64, 4)
	s.do(func() { sendRaw(t, d.Name(), 1) })
	if n, err := p.Wait(ready, -1); n != 1 || err != nil || !p.busy {
		t.Fatalf("%d ready, %v, busy %v", n, err, p.busy)
	}
	if n, errno := p.linger(len(ready)); n != 1 || errno != 0 {
		t.Errorf("lingering over a queue that is not empty: %d, %v", n, errno)
	}
	if err := p.Remove(d.Queues()[0].FD()); err != nil {
		t.Fatal(err)
	}
	p.spin = patience{}
	start := time.Now()
	if n, errno := p.linger(len(ready)); n != 0 || errno != 0 {
		t.Errorf("lingering over nothing: %d, %v", n, errno)
	}
	if took := time.Since(start); took < lingerSpin {
		t.Errorf("lingered %v only", took)
	}
	if p.spin.worthIt() {
		t.Error("spinning in vain did not cost patience")
	}
	p.Wake()
	if n, err := p.Wait(ready, -1); n != 0 || err != nil || !p.busy {
		t.Errorf("woken while busy: %d, %v", n, err)
	}
	if n, err := p.Wait(ready, 1); n != 0 || err != nil || p.busy {
		t.Errorf("timeout: %d, %v, busy %v", n, err, p.busy)
	}
}

func TestPatience(t *testing.T) {
	repeat := func(n int, f func(*patience)) func(*patience) {
		return func(p *patience) {
			for range n {
				f(p)
			}
		}
	}
	hit, miss, near := (*patience).hit, (*patience).miss, (*patience).near
	ask := func(p *patience) { p.worthIt() }
	tests := []struct {
		name  string
		steps []func(*patience)
		want  bool
	}{
		{"at first", nil, true},
		{"a miss", []func(*patience){miss}, false},
		{"hits outweigh a miss", []func(*patience){repeat(missCost, hit), miss}, true},
		{"hits are not saved up for ever", []func(*patience){repeat(1000, hit), repeat(3, miss)}, false},
		{"work at once heals", []func(*patience){miss, repeat(missCost, near)}, true},
		{"work at once earns nothing ahead", []func(*patience){repeat(1000, near), miss}, false},
		{"not tried again soon", []func(*patience){miss, repeat(retryAfter-2, ask)}, false},
		{"tried again after a while", []func(*patience){miss, repeat(retryAfter-1, ask)}, true},
	}
	for _, tt := range tests {
		var p patience
		for _, step := range tt.steps {
			step(&p)
		}
		if got := p.worthIt(); got != tt.want {
			t.Errorf("%s: worth it %v, want %v (score %d)", tt.name, got, tt.want, p.score)
		}
	}
}
