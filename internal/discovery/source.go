package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Sentinel errors of a Table's updates.
var (
	ErrFull      = errors.New("table of names is full")
	ErrNoNetwork = errors.New("no such network")
	ErrInvalid   = errors.New("invalid record")
)

// A State says whether an endpoint may be given new work.
type State uint8

const (
	Serving   State = iota // healthy, or nothing checks it
	Unhealthy              // a check failed, or has not succeeded yet
	Draining               // finishes what it has
)

func (s State) String() string { return [...]string{"serving", "unhealthy", "draining"}[s] }

// A Network is a namespace of names.
type Network struct {
	ID   string
	Name string        // as in NAME.NETWORK
	TTL  time.Duration // of its records; zero is the table's, negative is 0
}

// An Endpoint is a container's place on a network.
type Endpoint struct {
	Network string // its ID
	ID      string
	Names   []string     // the first is the one that PTR and SRV records say
	Addrs   []netip.Addr // link-local ones are left out, as Docker's are
	Ports   []Port       // exposed and published
	State   State
	Service string // ID of the service it is a backend of, or empty
	Node    string // where it lives, for people
}

// A Service is a name for several endpoints on one network.
type Service struct {
	Network string // its ID
	ID      string
	Names   []string     // its name, then its aliases
	VIPs    []netip.Addr // what the names are answered with; none: with all backends (dnsrr)
	Ports   []Port
}

// A Port is one that is listened on, for SRV records.
type Port struct {
	Number    uint16 // inside
	Published uint16 // outside, by which it is found as well; zero: none
	Protocol  string // tcp, udp, sctp
	Name      string // as in _http._tcp.web; may be empty
}

// A Static is a set of records that somebody wrote down.
type Static struct {
	Network string // its ID; empty: for every client of the table, after its networks' own names
	Name    string // may begin with "*." (RFC 4592)
	Type    string // A, AAAA, CNAME, TXT, SRV, PTR
	Values  []string
	TTL     time.Duration // zero is the network's, negative is 0
}

// An Origin is the kind of thing that a record comes from.
type Origin uint8

const (
	FromEndpoint Origin = iota
	FromService
	FromStatic
)

func (o Origin) String() string { return [...]string{"endpoint", "service", "static"}[o] }

// Bounds of one source. What an endpoint or a service has beyond them is left out and
// counted, a static record is refused.
const (
	maxNames  = 128
	maxAddrs  = 64
	maxPorts  = 256
	maxValues = 64
)

// owner is a source whose records are published. Owners are immutable: a changed source
// is another owner.
type owner struct {
	origin Origin
	id     string
	label  string // for people
	names  []string
	host   string // what PTR and SRV records say: the first name
	addrs  []netip.Addr
	ports  []Port
	state  State
	group  string // the service's ID, for a service and its backends
	node   string

	static *staticSet // of FromStatic
}

// newOwner takes over what of a source DNS can carry.
func newOwner(s *Stats, origin Origin, id string, names []string, addrs []netip.Addr, ports []Port) *owner {
	o := &owner{origin: origin, id: id, label: id}
	for _, n := range names {
		lower, ok := normalize(n)
		switch {
		case !ok:
			s.count(BadName)
		case slices.Contains(o.names, lower):
		case len(o.names) == maxNames:
			s.count(NameFull)
		default:
			if o.names = append(o.names, lower); o.host == "" {
				o.host, o.label = strings.TrimSuffix(n, "."), n
			}
		}
	}
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		switch {
		case !a.IsValid() || a.IsLinkLocalUnicast() || slices.Contains(o.addrs, a):
		case len(o.addrs) == maxAddrs:
			s.count(NameFull)
		default:
			o.addrs = append(o.addrs, a)
		}
	}
	for _, p := range ports {
		p.Name, p.Protocol = strings.ToLower(p.Name), strings.ToLower(p.Protocol)
		switch {
		case p.Number == 0 || p.Protocol == "" || slices.Contains(o.ports, p):
		case len(o.ports) == maxPorts:
			s.count(NameFull)
		default:
			o.ports = append(o.ports, p)
		}
	}
	return o
}

// seconds is a TTL on the wire: d, or what stands in for zero. RFC 2181, 8 bounds it.
func seconds(d time.Duration, zero uint32) uint32 {
	switch {
	case d == 0:
		return zero
	case d < 0:
		return 0
	}
	return uint32(min((d+time.Second-1)/time.Second, 1<<31-1))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
