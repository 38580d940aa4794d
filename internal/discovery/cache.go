package discovery

import (
	"container/list"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Theory of operation
//
// A cache keeps whole answers under their questions, packed, with the places of their
// TTLs. It is bounded in bytes, the answer used longest ago goes first. Positive
// answers live as long as the least of their TTLs, at most maxTTL; negative ones
// (NXDOMAIN, or no record of the type) as long as their SOA record says, at most
// maxNegative, and without one not at all (RFC 2308, 5). Failures are not kept. A nil
// cache keeps nothing.
type cache struct {
	bytes int // bound
	stats *Stats
	now   func() time.Time

	mu   sync.Mutex
	used int
	by   map[string]*list.Element
	lru  *list.List // of *cached, the latest used in front
}

type cached struct {
	key    string
	wire   []byte // ID zero, no OPT record; read-only
	ttls   []int  // offsets
	stored time.Time
	until  time.Time
}

const (
	maxTTL      = time.Hour
	maxNegative = 5 * time.Minute
	// cachedCost is about what an answer costs beside its bytes.
	cachedCost = 256
)

func newCache(bytes int, stats *Stats) *cache {
	return &cache{bytes: bytes, stats: stats, now: time.Now, by: map[string]*list.Element{}, lru: list.New()}
}

// appendKey makes the key of a question: what an answer may depend on.
func appendKey(key, name []byte, qtype uint16, do, cd bool) []byte {
	key = append(key, name...)
	var flags byte
	if do {
		flags |= 1
	}
	if cd {
		flags |= 2
	}
	return append(binary.BigEndian.AppendUint16(key, qtype), flags)
}

// questionKey is the key of a query. A query with EDNS options (a client's subnet, RFC
// 7871) is answered to it alone.
func questionKey(q *dns.Msg, name string) (key string, cacheable bool) {
	do := false
	if o := q.IsEdns0(); o != nil {
		if do = o.Do(); len(passed(o.Option)) > 0 {
			return "", false
		}
	}
	if !q.RecursionDesired {
		return "", false
	}
	lower := strings.ToLower(strings.TrimSuffix(name, "."))
	return string(appendKey(nil, []byte(lower), q.Question[0].Qtype, do, q.CheckingDisabled)), true
}

// store keeps an answer if it may be kept.
func (c *cache) store(key string, m *dns.Msg) {
	if c == nil || m.Truncated {
		return
	}
	ttl := lifetime(m)
	if ttl <= 0 {
		return
	}
	keep := *m
	keep.Id, keep.Compress = 0, true
	wire, err := keep.Pack()
	if err != nil {
		return
	}
	ttls, ok := ttlOffsets(wire)
	cost := len(wire) + len(key) + 8*len(ttls) + cachedCost
	if !ok || cost > c.bytes/4 {
		return
	}
	now := c.now()
	e := &cached{key, wire, ttls, now, now.Add(ttl)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.by[key]; old != nil {
		c.remove(old)
	}
	c.by[key] = c.lru.PushFront(e)
	for c.used += cost; c.used > c.bytes; {
		c.stats.count(Evicted)
		c.remove(c.lru.Back())
	}
}

func (c *cache) remove(el *list.Element) {
	e := c.lru.Remove(el).(*cached)
	delete(c.by, e.key)
	c.used -= len(e.wire) + len(e.key) + 8*len(e.ttls) + cachedCost
}

// lifetime is how long an answer may be kept.
func lifetime(m *dns.Msg) time.Duration {
	least, limit := uint32(1<<31), maxTTL
	negative := m.Rcode == dns.RcodeNameError
	switch {
	case m.Rcode != dns.RcodeSuccess && !negative:
		return 0
	case !negative:
		negative = true
		for _, rr := range m.Answer {
			if t := rr.Header().Rrtype; t == m.Question[0].Qtype {
				negative = false
			}
		}
	}
	if negative {
		soa := false
		limit = maxNegative
		for _, rr := range m.Ns {
			if s, ok := rr.(*dns.SOA); ok {
				soa, least = true, min(least, s.Minttl)
			}
		}
		if !soa {
			return 0
		}
	}
	for _, of := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range of {
			ttl := rr.Header().Ttl
			if ttl > 1<<31-1 {
				ttl = 0 // RFC 2181, 8
			}
			least = min(least, ttl)
		}
	}
	return min(time.Duration(least)*time.Second, limit)
}

// ttlOffsets finds the TTLs of a packed message.
func ttlOffsets(wire []byte) (at []int, ok bool) {
	off := headerLen
	for range binary.BigEndian.Uint16(wire[4:]) {
		if off, ok = skipName(wire, off); !ok {
			return nil, false
		}
		off += 4
	}
	n := 0
	for i := 6; i < headerLen; i += 2 {
		n += int(binary.BigEndian.Uint16(wire[i:]))
	}
	for range n {
		if off, ok = skipName(wire, off); !ok || off+10 > len(wire) {
			return nil, false
		}
		at = append(at, off+4)
		off += 10 + int(binary.BigEndian.Uint16(wire[off+8:]))
	}
	return at, off == len(wire)
}

func skipName(wire []byte, off int) (int, bool) {
	for off < len(wire) {
		switch n := int(wire[off]); {
		case n == 0:
			return off + 1, true
		case n >= 0xc0:
			return off + 2, true
		default:
			off += 1 + n
		}
	}
	return 0, false
}

// get returns what is kept under a key, and for how many seconds it has been.
func (c *cache) get(key []byte) (e *cached, age uint32) {
	if c == nil {
		return nil, 0
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.by[string(key)]
	if el == nil {
		return nil, 0
	}
	e = el.Value.(*cached)
	if !now.Before(e.until) {
		c.remove(el)
		return nil, 0
	}
	c.lru.MoveToFront(el)
	return e, uint32(now.Sub(e.stored) / time.Second)
}

// age takes the time that has passed from the TTLs of a message.
func (e *cached) age(wire []byte, age uint32) {
	for _, at := range e.ttls {
		ttl := binary.BigEndian.Uint32(wire[at:])
		binary.BigEndian.PutUint32(wire[at:], ttl-min(ttl, age))
	}
}

// message returns an answer that is kept, aged, the caller's to change.
func (c *cache) message(key string) *dns.Msg {
	e, age := c.get([]byte(key))
	if e == nil {
		return nil
	}
	wire := append([]byte(nil), e.wire...)
	e.age(wire, age)
	m := new(dns.Msg)
	if m.Unpack(wire) != nil {
		return nil
	}
	return m
}

// answer writes an answer that is kept into out, where it fits limit; 0 means that it
// is not to be had here.
func (f *Forwarder) answer(msg, out []byte, q *question, limit int) int {
	if f.cache == nil || msg[2]&flagRD == 0 {
		return 0
	}
	var buf [maxName + 8]byte
	e, age := f.cache.get(appendKey(buf[:0], q.name, q.qtype, q.do, msg[3]&flagCD != 0))
	if e == nil || len(e.wire) < q.end || len(e.wire)+optLen > limit {
		return 0
	}
	n := copy(out, e.wire)
	e.age(out, age)
	copy(out[:2], msg[:2])
	copy(out[headerLen:q.end], msg[headerLen:q.end]) // the name as it was asked
	out[2] = flagQR | msg[2]&flagRD
	out[3] = flagRA | msg[3]&flagCD | e.wire[3]&15
	if q.do || msg[3]&flagAD != 0 { // else the client does not know the flag (RFC 6840, 5.8)
		out[3] |= e.wire[3] & flagAD
	}
	if q.edns {
		binary.BigEndian.PutUint16(out[10:], binary.BigEndian.Uint16(out[10:])+1)
		n = putOPT(out, n, q.do)
	}
	f.stats.count(AnsweredCached)
	return n
}
