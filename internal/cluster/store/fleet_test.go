package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/cnm"
)

// A hub is a network in memory whose links can be cut.
type hub struct {
	mu    sync.Mutex
	ports map[string]*port
	cuts  map[[2]string]bool
	conns map[[2]string][]net.Conn
	late  func() time.Duration // what a write takes; nil: nothing
}

// A slowConn takes its time.
type slowConn struct {
	net.Conn
	hub *hub
}

func (c *slowConn) Write(b []byte) (int, error) {
	if c.hub.late != nil {
		time.Sleep(c.hub.late())
	}
	return c.Conn.Write(b)
}

// A port is a StreamLayer.
type port struct {
	hub    *hub
	addr   string
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func newHub() *hub {
	return &hub{ports: map[string]*port{}, cuts: map[[2]string]bool{}, conns: map[[2]string][]net.Conn{}}
}

func link(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (h *hub) listen(addr string) *port {
	p := &port{hub: h, addr: addr, accept: make(chan net.Conn), done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports[addr] = p
	return p
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *port) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	p.hub.mu.Lock()
	to, cut := p.hub.ports[addr], p.hub.cuts[link(p.addr, addr)]
	p.hub.mu.Unlock()
	if cut {
		time.Sleep(min(timeout, 100*time.Millisecond))
	}
	if cut || to == nil {
		return nil, fmt.Errorf("no way from %s to %s", p.addr, addr)
	}
	a, b := net.Pipe()
	select {
	case to.accept <- &slowConn{b, p.hub}:
	case <-to.done:
		return nil, fmt.Errorf("nobody listens at %s", addr)
	case <-time.After(timeout):
		return nil, fmt.Errorf("no answer from %s", addr)
	}
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	l := link(p.addr, addr)
	p.hub.conns[l] = append(p.hub.conns[l], a, b)
	if p.hub.cuts[l] {
		a.Close()
		b.Close()
	}
	return &slowConn{a, p.hub}, nil
}

// cut cuts every link between the two sides; nothing cuts none.
func (h *hub) cut(side []string, other []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.cuts)
	for _, a := range side {
		for _, b := range other {
			h.cuts[link(a, b)] = true
			for _, c := range h.conns[link(a, b)] {
				c.Close()
			}
			delete(h.conns, link(a, b))
		}
	}
}

// A fleet is some managers, n1 the first.
type fleet struct {
	*hub
	t      testing.TB
	dir    string
	tuning Tuning
	mu     sync.Mutex
	stores map[string]*Store
	log    *slog.Logger // nil: none
}

func newFleet(t testing.TB, tuning Tuning) *fleet {
	f := &fleet{hub: newHub(), t: t, dir: t.TempDir(), tuning: tuning, stores: map[string]*Store{}}
	t.Cleanup(func() {
		if len(f.stores) == 0 {
			return
		}
		for n := range f.stores {
			f.kill(n)
		}
		time.Sleep(time.Second) // the network's, for a write under way
	})
	return f
}

// ctl returns the address of a node's manager: n7 has 127.0.0.7:2377.
func ctl(name string) netip.AddrPort {
	var n byte
	fmt.Sscanf(name, "n%d", &n)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, n}), 2377)
}

func (f *fleet) config(name string) Config {
	log := f.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return Config{Dir: filepath.Join(f.dir, name), NodeID: name, Addr: ctl(name).String(), Bootstrap: name == "n1", Log: log, Tuning: f.tuning}
}

func (f *fleet) start(name string) *Store {
	f.t.Helper()
	cfg := f.config(name)
	cfg.Stream = f.listen(cfg.Addr)
	s, err := Open(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stores[name] = s
	return s
}

func (f *fleet) kill(name string) {
	f.mu.Lock()
	s := f.stores[name]
	delete(f.stores, name)
	f.mu.Unlock()
	if err := s.Close(); err != nil {
		f.t.Errorf("close %s: %v", name, err)
	}
}

// running returns the stores that run, by name.
func (f *fleet) running() (names []string, stores map[string]*Store) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stores = map[string]*Store{}
	for n, s := range f.stores {
		names, stores[n] = append(names, n), s
	}
	slices.Sort(names)
	return names, stores
}

// leader waits for a manager that leads and can prove it.
func (f *fleet) leader() (string, *Store) {
	f.t.Helper()
	for range 600 {
		names, stores := f.running()
		for _, n := range names {
			if stores[n].IsLeader() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				err := stores[n].Barrier(ctx)
				cancel()
				if err == nil {
					return n, stores[n]
				}
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.t.Fatal("no leader for 30 s")
	return "", nil
}

// do applies a command with whoever leads, until there is an answer.
func (f *fleet) do(c Command) (Result, error) {
	f.t.Helper()
	for range 100 {
		_, s := f.leader()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		r, err := s.Apply(ctx, c)
		cancel()
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUncertain) {
			return r, err
		}
	}
	return Result{}, ErrUncertain
}

func (f *fleet) must(c Command) Result {
	f.t.Helper()
	r, err := f.do(c)
	if err != nil {
		f.t.Fatalf("%s: %v", c.kind(), err)
	}
	return r
}

func manager(name string) PutNode {
	p := node(name, cnm.Manager)
	p.Control = ctl(name)
	return p
}

// grow makes a cluster of n1, with more managers.
func (f *fleet) grow(more ...string) {
	f.t.Helper()
	f.start("n1")
	first := initCluster()
	first.Node = manager("n1")
	f.must(first)
	for i, name := range more {
		f.start(name)
		p := manager(name)
		p.Now = t0.Add(time.Duration(i+1) * time.Minute)
		f.must(p)
	}
	f.reconcile()
}

// reconcile has the leader, and who follows it, set the votes.
func (f *fleet) reconcile() {
	f.t.Helper()
	for range 10 {
		_, s := f.leader()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := s.Reconcile(ctx, func(string) bool { return true })
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, ErrNotLeader) {
			f.t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	f.t.Fatal("the votes were not settled in ten attempts")
}

// votes returns the managers raft knows: "+n1 n2", a plus is a vote.
func (f *fleet) votes() (out []string) {
	f.t.Helper()
	_, s := f.leader()
	list, err := s.Servers()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, l := range list {
		if l.Voter {
			l.ID = "+" + l.ID
		}
		out = append(out, l.ID)
	}
	return out
}

// agree waits until all managers that run know of a version, and fails unless they
// have the same state.
func (f *fleet) agree(version uint64) {
	f.t.Helper()
	names, stores := f.running()
	var first string
	for _, n := range names {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := stores[n].Wait(ctx, version)
		cancel()
		if err != nil {
			f.t.Fatalf("%s: %v", n, err)
		}
		b := &bench{machine: stores[n].machine}
		if text := string(b.bytes(f.t)); first == "" {
			first = text
		} else if text != first {
			f.t.Fatalf("%s has another state than %s:\n%s\n%s", n, names[0], text, first)
		}
	}
}
