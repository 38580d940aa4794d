package vswitch

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/frame"
)

// Theory of operation.
//
// The port table is an immutable slice behind an atomic pointer. Adding and
// removing ports copies it, under mu. A worker loads it once per turn and counts
// its turns: odd while one is under way. RemovePort publishes a table without
// the port, then waits until every worker that was in a turn has left it; from
// then on nobody can touch the port's queues, and its owner may close them
// without a descriptor being reused under a writer.

// Errors a caller branches on.
var (
	ErrTooManyWorkers = errors.New("vswitch: no worker left: Config.Workers is the bound")
	ErrTooManyPorts   = errors.New("vswitch: the switch has as many ports as it may")
)

// Config describes a switch.
type Config struct {
	// Workers is the largest number of workers that will be made; 0 is 1.
	Workers int
	// MaxPorts bounds the ports; 0 is DefaultMaxPorts.
	MaxPorts int
	// Seed varies the FDB's hash. A replay gives a fixed one, a daemon a random.
	Seed uint64
	// Nanoseconds is the clock of captures, since 1970 UTC; nil is the system's.
	// It is read only where somebody captures.
	Nanoseconds func() int64
}

// DefaultMaxPorts is the number of ports a switch may have.
const DefaultMaxPorts = 4096

// A Switch is a set of bridge domains with their ports.
type Switch struct {
	cfg     Config
	mu      sync.Mutex
	ports   atomic.Pointer[[]*Port]
	workers atomic.Pointer[[]*Worker]
	now     atomic.Uint32
	serial  uint32 // of the port added last; guarded by mu
}

// New returns a switch without ports.
func New(c Config) *Switch {
	c.Workers = max(c.Workers, 1)
	if c.MaxPorts == 0 {
		c.MaxPorts = DefaultMaxPorts
	}
	c.MaxPorts = min(c.MaxPorts, maxPorts)
	if c.Nanoseconds == nil {
		c.Nanoseconds = func() int64 { return time.Now().UnixNano() }
	}
	s := &Switch{cfg: c}
	s.ports.Store(&[]*Port{})
	s.workers.Store(&[]*Worker{})
	return s
}

// AddDomain returns a new, empty bridge domain. It lives as long as somebody
// refers to it.
func (s *Switch) AddDomain(c DomainConfig) (*Domain, error) { return newDomain(s, c) }

// AddPort adds a port with one or more queues to the domain named in its
// configuration. Frames flow as soon as a worker takes turns on it, and towards
// it at once.
func (s *Switch) AddPort(c PortConfig, queues ...Queue) (*Port, error) {
	if c.Domain == nil || len(queues) == 0 {
		return nil, fmt.Errorf("vswitch: port %q needs a domain and a queue", c.Name)
	}
	if c.MaxMACs == 0 {
		c.MaxMACs = DefaultMaxMACs
	}
	if c.Exit && (!c.Domain.gateway.on || c.MAC != frame.MAC{}) {
		return nil, fmt.Errorf("vswitch: port %q: an exit sends from its domain's gateway, and %q has none or the port has a MAC of its own", c.Name, c.Domain.cfg.Name)
	}
	p := &Port{
		cfg: c, sw: s, domain: c.Domain, queues: queues,
		guard: newGuard(&c), vlans: vlanSet(c.VLANs), counters: make([]counters, s.cfg.Workers),
	}
	p.SetMTU(c.MTU)
	s.mu.Lock()
	defer s.mu.Unlock()
	table := slices.Clone(*s.ports.Load())
	slot := slices.Index(table, nil)
	if slot < 0 {
		if len(table) >= s.cfg.MaxPorts {
			return nil, ErrTooManyPorts
		}
		slot, table = len(table), append(table, nil)
	}
	if c.Exit && !c.Domain.exit.CompareAndSwap(nil, p) {
		return nil, fmt.Errorf("vswitch: port %q: %q has an exit", c.Name, c.Domain.cfg.Name)
	}
	s.serial++
	p.serial, p.slot, table[slot] = s.serial, uint32(slot), p
	if p.guard.on && !c.Domain.fdb.setStatic(fdbKey(0, c.MAC), p) {
		return nil, fmt.Errorf("vswitch: port %q: the forwarding database of %q is full", c.Name, c.Domain.cfg.Name)
	}
	s.ports.Store(&table)
	members := append(slices.Clone(*c.Domain.members.Load()), p)
	c.Domain.members.Store(&members)
	c.Domain.snoop.welcome(p)
	return p, nil
}

// RemovePort takes a port away and everything learned on it. When it returns no
// worker uses the port's queues any more, and none will.
func (s *Switch) RemovePort(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := *s.ports.Load()
	if int(p.slot) >= len(table) || table[p.slot] != p {
		return
	}
	p.gone.Store(true)
	table = slices.Clone(table)
	table[p.slot] = nil
	s.ports.Store(&table)
	members := slices.DeleteFunc(slices.Clone(*p.domain.members.Load()), func(q *Port) bool { return q == p })
	p.domain.members.Store(&members)
	p.domain.exit.CompareAndSwap(p, nil)
	s.forget(p)
	s.quiesce()
	// A turn that was under way may have learned once more. The slot is not
	// given away before mu is.
	s.forget(p)
}

func (s *Switch) forget(p *Port) {
	p.domain.fdb.remove(func(key, val uint64) bool { return valPort(val) == p.slot })
	p.domain.snoop.forget(p)
}

// quiesce waits until every worker has left the turn it was in.
func (s *Switch) quiesce() {
	for _, w := range *s.workers.Load() {
		turn := w.turn.Load()
		for i := 0; turn&1 == 1 && w.turn.Load() == turn; i++ {
			if i < 100 {
				runtime.Gosched()
			} else {
				time.Sleep(20 * time.Microsecond)
			}
		}
	}
}

// releaseMAC gives a learned address back to the port it was counted on.
func (s *Switch) releaseMAC(slot uint32) {
	if table := *s.ports.Load(); int(slot) < len(table) && table[slot] != nil {
		table[slot].macs.Add(-1)
	}
}

// Tick sets the coarse clock, in seconds, and forgets what has aged. Call it
// once a second.
func (s *Switch) Tick(now uint32) {
	s.now.Store(now)
	done := map[*Domain]bool{}
	for _, p := range *s.ports.Load() {
		if p == nil || done[p.domain] {
			continue
		}
		done[p.domain] = true
		p.domain.age(now)
	}
}

// age forgets learned addresses and neighbours not seen for the domain's age.
func (d *Domain) age(now uint32) {
	d.snoop.age(now)
	if now < d.cfg.AgeSeconds {
		return
	}
	oldest := now - d.cfg.AgeSeconds
	d.fdb.remove(func(key, val uint64) bool { return val&valStatic == 0 && valStamp(val) < oldest })
	d.neighbours.Expire(now, d.cfg.AgeSeconds)
}

// Ports returns the ports there are, by slot.
func (s *Switch) Ports() []*Port {
	return slices.DeleteFunc(slices.Clone(*s.ports.Load()), func(p *Port) bool { return p == nil })
}

// lookup finds the port that val is bound to; nil when it is going away.
func lookup(table []*Port, val uint64) *Port {
	slot := valPort(val)
	if val&valValid == 0 || int(slot) >= len(table) {
		return nil
	}
	return table[slot]
}

// unicast reports whether a MAC names one station.
func unicast(m frame.MAC) bool { return m[0]&1 == 0 }
