package discovery

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
)

// An Attachment is a network that a client is on.
type Attachment struct {
	Network string            // its ID
	Name    string            // for the order
	Links   map[string]string // names that this client alone has for others there: alias → name

	Dynamic       bool // an overlay
	Priority      int
	GatewayBridge bool // weft_gwbridge
	Internal      bool
	Gateway       bool // the endpoint has one
}

// Order sorts a client's networks by which of them wins when several know a name:
// dynamic before local ones; then the higher priority, any before the gateway bridge,
// not internal, with a gateway, by name (Docker's order of a sandbox's endpoints).
func Order(on []Attachment) {
	first := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	slices.SortStableFunc(on, func(a, b Attachment) int {
		return cmp.Or(first(a.Dynamic, b.Dynamic), cmp.Compare(b.Priority, a.Priority), first(!a.GatewayBridge, !b.GatewayBridge),
			first(!a.Internal, !b.Internal), first(a.Gateway, b.Gateway), cmp.Compare(a.Name, b.Name))
	})
}

// ViewConfig is how a client sees the names of a table.
type ViewConfig struct {
	Networks []Attachment // in any order
	// Merge has a name answered with the addresses of all networks that know it,
	// instead of the first one's alone.
	Merge bool
	// Ndots says that the user set ndots above 0: unknown names without a dot are
	// answered with nothing, for the client's resolver will come again with a domain
	// behind them.
	Ndots bool
	// Forwarder is asked what is not known here; nil: nobody is. A client whose
	// networks are all internal never has its questions forwarded, whatever is said
	// here.
	Forwarder *Forwarder
}

// A View is what one client is answered: which networks' names it sees, in which order,
// and who is asked for the rest. It is safe for concurrent use.
type View struct {
	table *Table
	state atomic.Pointer[viewState]
}

// A viewState is immutable.
type viewState struct {
	ViewConfig
	forward *Forwarder // nil: never
	linked  bool       // there are links
	zone    bool       // of a Zone: all networks, but each by its name only
}

// NewView returns a view of the table.
func (t *Table) NewView(c ViewConfig) *View {
	v := &View{table: t}
	v.Set(c)
	return v
}

// Set changes a view, at once for questions that come from now on.
func (v *View) Set(c ViewConfig) {
	s := &viewState{ViewConfig: c}
	s.Networks = slices.Clone(c.Networks)
	Order(s.Networks)
	for i := range s.Networks {
		a := &s.Networks[i]
		links := map[string]string{}
		for alias, name := range a.Links {
			from, ok1 := normalize(alias)
			to, ok2 := normalize(name)
			if !ok1 || !ok2 {
				v.table.stats.count(BadName)
				continue
			}
			links[from] = to
		}
		a.Links = links
		s.linked = s.linked || len(links) > 0
		if !a.Internal && !a.GatewayBridge { // the bridge of an internal sandbox is for what comes in
			s.forward = c.Forwarder
		}
	}
	v.state.Store(s)
}

// A match is an entry that a name leads to, on one network.
type match struct {
	*entry
	in *records
}

// matches appends to dst the entries that a name leads to, those of the networks that
// win first. As in Docker the whole name is looked for on all networks, then what is
// left of each dot, from the last one on, on the network that is named to the right of
// it; and a client's links go before the names of all. Then come static records of no
// network, then wildcards.
func (v *View) matches(s *viewState, name []byte, dst []match) []match {
	nets := v.table.nets.Load()
	if s.zone {
		return nets.qualified(name, dst)
	}
	for end := len(name); end > 0; end = bytes.LastIndexByte(name[:end], '.') {
		var network []byte
		if end < len(name) {
			network = name[end+1:]
		}
		if s.linked {
			if dst = s.onNetworks(nets, name[:end], network, true, dst); len(dst) > 0 {
				return dst
			}
		}
		if dst = s.onNetworks(nets, name[:end], network, false, dst); len(dst) > 0 {
			return dst
		}
	}
	all := nets.all.snap.Load()
	if all.names.size > 0 {
		if e, ok := all.names.getBytes(name); ok {
			return append(dst, match{e, all})
		}
	}
	return s.wildcards(nets, name, dst)
}

// qualified appends the entry of NAME.NETWORK, or of a name of no network.
func (n *networks) qualified(name []byte, dst []match) []match {
	for end := bytes.LastIndexByte(name, '.'); end > 0; end = bytes.LastIndexByte(name[:end], '.') {
		z := n.byName[string(name[end+1:])]
		if z == nil {
			continue
		}
		r := z.snap.Load()
		if e, ok := r.names.getBytes(name[:end]); ok {
			return append(dst, match{e, r})
		}
		if m, ok := wildcard(z, name[:end]); ok {
			return append(dst, m)
		}
	}
	r := n.all.snap.Load()
	if e, ok := r.names.getBytes(name); ok {
		return append(dst, match{e, r})
	}
	if m, ok := wildcard(n.all, name); ok {
		return append(dst, m)
	}
	return dst
}

// onNetworks appends the entries of a name on the client's networks, or on the one that
// network names. With links the name is a link's and leads to another; without them a
// network is passed by where it is a link's.
func (s *viewState) onNetworks(nets *networks, name, network []byte, links bool, dst []match) []match {
	for i := range s.Networks {
		a := &s.Networks[i]
		z := nets.byID[a.Network]
		if z == nil {
			continue
		}
		r := z.snap.Load()
		if network != nil && string(network) != r.lower {
			continue
		}
		var e *entry
		to, linked := a.Links[string(name)]
		switch {
		case links && linked:
			e, _ = r.names.get(to)
		case !links && !linked:
			e, _ = r.names.getBytes(name)
		}
		if e != nil {
			dst = append(dst, match{e, r})
		}
	}
	return dst
}

// wildcards appends the entries of the wildcards that cover a name: on each network the
// one closest to it, unless a name that exists stands between (RFC 4592, 3.3.1).
func (s *viewState) wildcards(nets *networks, name []byte, dst []match) []match {
	for i := range s.Networks {
		if z := nets.byID[s.Networks[i].Network]; z != nil {
			if m, ok := wildcard(z, name); ok {
				dst = append(dst, m)
			}
		}
	}
	if len(dst) == 0 {
		if m, ok := wildcard(nets.all, name); ok {
			dst = append(dst, m)
		}
	}
	return dst
}

func wildcard(z *zone, name []byte) (m match, ok bool) {
	r := z.snap.Load()
	if r.wild == 0 {
		return m, false
	}
	for rest := string(name); rest != ""; {
		_, above, _ := strings.Cut(rest, ".")
		if e, ok := r.names.get(strings.TrimSuffix("*."+above, ".")); ok {
			return match{e, r}, true
		}
		if _, ok := r.names.get(above); ok {
			break
		}
		rest = above
	}
	return m, false
}

// addresses returns which of the matches answer a question of type A or AAAA: the first
// that has any or is a CNAME record; with Merge all that have any.
func (s *viewState) addresses(of []match, qtype uint16) []match {
	for i, m := range of {
		if len(m.addrs(qtype)) == 0 && m.cname == nil {
			continue
		}
		if !s.Merge || m.cname != nil {
			return of[i : i+1]
		}
		n := 0
		for _, m := range of {
			if len(m.addrs(qtype)) > 0 {
				of[n] = m
				n++
			}
		}
		return of[:n]
	}
	return nil
}

// isAddress reports whether a question is for addresses.
func isAddress(qtype uint16) bool { return qtype == dns.TypeA || qtype == dns.TypeAAAA }
