package discovery

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// listens yields the ports behind a name: a backend's are its own and the service's.
// Those of a service without a VIP are its backends' alone.
func (c *claim) listens() iter.Seq[Port] {
	return func(yield func(Port) bool) {
		if c.role == roleTasks || c.role == roleService && len(c.addrs) == 0 {
			return
		}
		for _, p := range c.ports {
			if !yield(p) {
				return
			}
		}
		if c.svc == nil {
			return
		}
		for _, p := range c.svc.ports {
			if !slices.Contains(c.ports, p) && !yield(p) {
				return
			}
		}
	}
}

// labels are what a port is looked up by: its number, the published one, its name.
func (p Port) labels() []string {
	out := []string{strconv.Itoa(int(p.Number))}
	if p.Published != 0 && p.Published != p.Number {
		out = append(out, strconv.Itoa(int(p.Published)))
	}
	if p.Name != "" && !slices.Contains(out, p.Name) {
		out = append(out, p.Name)
	}
	return out
}

// is reports whether a port is looked up by a label, without its "_".
func (p Port) is(label string) bool {
	if p.Name != "" && p.Name == label {
		return true
	}
	n, err := strconv.ParseUint(label, 10, 16)
	return err == nil && label[0] != '0' && (n == uint64(p.Number) || n == uint64(p.Published))
}

// serviceName takes _PORT._PROTOCOL.NAME apart (RFC 2782).
func serviceName(name string) (port, protocol, rest string, ok bool) {
	first, rest, ok1 := strings.Cut(name, ".")
	second, rest, ok2 := strings.Cut(rest, ".")
	port, ok3 := strings.CutPrefix(first, "_")
	protocol, ok4 := strings.CutPrefix(second, "_")
	return port, protocol, rest, ok1 && ok2 && ok3 && ok4 && port != "" && protocol != "" && rest != ""
}
