package discovery

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Theory of operation
//
// A Forwarder asks servers in order, each for Timeout at most, until one answers with
// something else than SERVFAIL or REFUSED. A server that did not answer in time is
// asked after the others for holdDown. Each question has a socket of its own, and with
// it a source port that the kernel chose, and a random ID (RFC 5452, 9.2); what comes
// back must have come from the server's address, with this ID and this question, or it
// is counted and not looked at. The same question asked again meanwhile waits for the
// first (RFC 5452, 5: many equal ones at a time make guessing easy). Of the answer only
// what belongs to the question is given on (sanity.go), and it is kept under the
// question as a whole, so that one answer cannot plant records for other names
// (cache.go).
//
// At most Concurrency questions are being forwarded; one more is refused at once. A
// Forwarder has no goroutines: it works in its callers'.

// A DialFunc opens a connection, as net.Dialer.DialContext does. The network is udp or
// tcp.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Docker's figures.
const (
	MaxServers         = 3
	DefaultTimeout     = 4 * time.Second
	DefaultConcurrency = 1024
)

// DefaultCache is how many bytes of answers a forwarder keeps.
const DefaultCache = 1 << 20

// holdDown is how long a server that did not answer is asked last.
const holdDown = 10 * time.Second

// ednsSize is the largest datagram that servers are told to send, which no usual path
// fragments.
const ednsSize = 1232

// errNoAnswer means that no server answered the question.
var errNoAnswer = errors.New("no server answered")

// An Upstream is a server that is asked.
type Upstream struct {
	Addr netip.AddrPort
	Host bool // only the host can reach it: its own loopback, for one
}

// A ForwardZone has servers of its own for a name and all below it.
type ForwardZone struct {
	Name    string
	Servers []Upstream
}

// ForwarderConfig is how a forwarder is made.
type ForwarderConfig struct {
	Servers     []Upstream    // the first MaxServers count
	Zones       []ForwardZone // the longest name wins
	Own         netip.Addr    // where the client's own server listens: not asked, it would be asking itself
	Dial        DialFunc      // for servers that the client can reach
	HostDial    DialFunc      // for the others
	Timeout     time.Duration // for each server
	Concurrency int
	Cache       int // bytes; zero is DefaultCache, negative none
	Stats       *Stats
}

// A Forwarder asks others. It is safe for concurrent use.
type Forwarder struct {
	cfg     ForwarderConfig
	servers []*upstream
	zones   []zoneServers // longest name first
	stats   *Stats
	active  atomic.Int64
	cache   *cache // nil: none
	buffers sync.Pool

	mu      sync.Mutex
	flights map[string]*flight
}

type upstream struct {
	Upstream
	dial DialFunc
	down atomic.Int64 // until when it is asked last, in ns since 1970
}

type zoneServers struct {
	name    string
	servers []*upstream
}

// A flight is a question that is being asked.
type flight struct {
	done chan struct{}
	msg  *dns.Msg // read-only
	err  error
}

// NewForwarder returns a forwarder; nothing is opened yet.
func NewForwarder(c ForwarderConfig) *Forwarder {
	c.Timeout, c.Concurrency = cmp.Or(c.Timeout, DefaultTimeout), cmp.Or(c.Concurrency, DefaultConcurrency)
	f := &Forwarder{cfg: c, stats: cmp.Or(c.Stats, &Stats{}), flights: map[string]*flight{}}
	f.buffers.New = func() any { b := make([]byte, maxReceive); return &b }
	if c.Cache >= 0 {
		f.cache = newCache(cmp.Or(c.Cache, DefaultCache), f.stats)
	}
	f.servers = f.upstreams(c.Servers)
	for _, z := range c.Zones {
		if name, ok := normalize(z.Name); ok {
			f.zones = append(f.zones, zoneServers{name, f.upstreams(z.Servers)})
		} else {
			f.stats.count(BadName)
		}
	}
	slices.SortStableFunc(f.zones, func(a, b zoneServers) int { return cmp.Compare(len(b.name), len(a.name)) })
	return f
}

func (f *Forwarder) upstreams(of []Upstream) (out []*upstream) {
	for _, u := range of {
		dial := f.cfg.Dial
		if u.Host {
			dial = f.cfg.HostDial
		}
		if dial == nil || !u.Host && u.Addr.Addr() == f.cfg.Own || len(out) == MaxServers {
			continue
		}
		out = append(out, &upstream{Upstream: u, dial: dial})
	}
	return out
}

// route returns the servers for a name.
func (f *Forwarder) route(name string) []*upstream {
	lower := strings.ToLower(strings.TrimSuffix(name, "."))
	for _, z := range f.zones {
		if rest, ok := strings.CutSuffix(lower, z.name); ok && (rest == "" || strings.HasSuffix(rest, ".")) {
			return z.servers
		}
	}
	return f.servers
}

// acquire takes one of the places for questions, release gives it back.
func (f *Forwarder) acquire() bool {
	if f.active.Add(1) > int64(f.cfg.Concurrency) {
		f.active.Add(-1)
		f.stats.count(Busy)
		return false
	}
	return true
}

func (f *Forwarder) release() { f.active.Add(-1) }

// ask returns the answer to a question of the query's type, by name, from cache or
// servers: sanitised, without an OPT record, and the caller's to change.
func (f *Forwarder) ask(ctx context.Context, query *dns.Msg, name string) (*dns.Msg, error) {
	key, cacheable := questionKey(query, name)
	if !cacheable {
		return f.askServers(ctx, query, name)
	}
	if m := f.cache.message(key); m != nil {
		f.stats.count(AnsweredCached)
		return m, nil
	}
	for {
		fl, first := f.join(key)
		if first {
			fl.msg, fl.err = f.askServers(ctx, query, name)
			if fl.err == nil {
				f.cache.store(key, fl.msg)
			}
			f.land(key, fl)
			if fl.err != nil {
				return nil, fl.err
			}
			return fl.msg.Copy(), nil
		}
		f.stats.count(Joined)
		select {
		case <-fl.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if errors.Is(fl.err, context.Canceled) {
			continue // who asked has gone; its question is asked again for who is still here
		}
		if fl.err != nil {
			return nil, fl.err
		}
		return fl.msg.Copy(), nil
	}
}

func (f *Forwarder) join(key string) (fl *flight, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl = f.flights[key]; fl != nil {
		return fl, false
	}
	fl = &flight{done: make(chan struct{})}
	f.flights[key] = fl
	return fl, true
}

func (f *Forwarder) land(key string, fl *flight) {
	f.mu.Lock()
	delete(f.flights, key)
	f.mu.Unlock()
	close(fl.done)
}

// askServers asks one server after the other.
func (f *Forwarder) askServers(ctx context.Context, query *dns.Msg, name string) (*dns.Msg, error) {
	var late [MaxServers]*upstream
	n, now := 0, time.Now().UnixNano()
	for _, u := range f.route(name) {
		if u.down.Load() > now {
			late[n] = u
			n++
			continue
		}
		if m := f.askServer(ctx, u, query, name); m != nil {
			return m, nil
		}
	}
	for _, u := range late[:n] {
		if m := f.askServer(ctx, u, query, name); m != nil {
			return m, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.stats.count(Failed)
	return nil, errNoAnswer
}

// askServer returns what one server answered, nil if the next one is to be asked.
func (f *Forwarder) askServer(ctx context.Context, u *upstream, query *dns.Msg, name string) *dns.Msg {
	if ctx.Err() != nil {
		return nil
	}
	m, err := f.exchange(ctx, u, outgoing(query, name, true))
	if err == nil && m.Rcode == dns.RcodeFormatError && query.IsEdns0() != nil { // it does not know EDNS (RFC 6891, 7)
		m, err = f.exchange(ctx, u, outgoing(query, name, false))
	}
	if err != nil {
		if timeout(err) && ctx.Err() == nil {
			f.stats.count(Timeouts)
			u.down.Store(time.Now().Add(holdDown).UnixNano())
		}
		return nil
	}
	u.down.Store(0)
	if m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused {
		return nil
	}
	sanitize(m)
	f.stats.count(AnsweredRemote)
	return m
}
