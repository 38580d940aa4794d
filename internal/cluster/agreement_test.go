package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/cluster/gossip"
)

// disagreement says where the members do not agree with each other or with what was
// done; nothing if they do.
func (s *stage) disagreement() string {
	for _, check := range []func() string{s.membership, s.tables, s.managers, s.leases} {
		if why := check(); why != "" {
			return why
		}
	}
	return ""
}

// membership: everybody knows the same members, by the managers' word and by the
// gossip's, and they are those that there are.
func (s *stage) membership() string {
	var want []string
	for _, h := range s.hosts {
		want = append(want, h.ID())
	}
	slices.Sort(want)
	version := s.hosts[0].View().Version
	for i, h := range s.hosts {
		var told, alive []string
		for _, n := range h.View().Nodes {
			told = append(told, n.ID)
		}
		for _, m := range h.gossip.Members() {
			if m.State == gossip.Alive {
				alive = append(alive, m.ID)
			}
		}
		switch {
		case !slices.Equal(told, want):
			return fmt.Sprintf("host %d is told of %v, there are %v", i, told, want)
		case !slices.Equal(alive, want):
			return fmt.Sprintf("host %d gossips with %v, there are %v", i, alive, want)
		case h.View().Version != version:
			return fmt.Sprintf("host %d has view %d, the first %d", i, h.View().Version, version)
		}
	}
	return ""
}

// tables: who has a network knows all the others that have it, and their endpoints.
func (s *stage) tables() string {
	for _, network := range s.networks {
		for i, h := range s.hosts {
			if len(s.eps[i][network]) == 0 {
				if rows := h.gossip.Rows(network); len(rows) > 0 {
					return fmt.Sprintf("host %d has rows of a network that it is not on", i)
				}
				continue
			}
			var want, got []string
			for j, eps := range s.eps {
				for _, e := range eps[network] {
					if j != i {
						want = append(want, fmt.Sprintln(s.hosts[j].ID(), e.ID, e.MAC, e.Addrs, e.VTEP))
					}
				}
			}
			for _, e := range h.Neighbours(network).Endpoints {
				got = append(got, fmt.Sprintln(e.Node, e.ID, e.MAC, e.Addrs, e.VTEP))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Sprintf("host %d knows of endpoints\n%sthere are\n%s", i, strings.Join(got, ""), strings.Join(want, ""))
			}
		}
	}
	return ""
}

// managers: their copies of the state are the same.
func (s *stage) managers() string {
	var first string
	for i, h := range s.hosts[:planManagers] {
		st := h.manager.store.State()
		var text strings.Builder
		fmt.Fprintf(&text, "%+v\n", st.Cluster)
		for id, n := range st.Nodes.All() {
			fmt.Fprintf(&text, "%s %+v\n", id, n)
		}
		for id, n := range st.Networks.All() {
			fmt.Fprintf(&text, "%s %+v\n", id, n)
		}
		for id, e := range st.Endpoints.All() {
			fmt.Fprintf(&text, "%s %+v\n", id, e)
		}
		if i == 0 {
			first = text.String()
		} else if text.String() != first {
			return fmt.Sprintf("the states of managers 0 and %d differ:\n%s\n%s", i, first, text.String())
		}
	}
	return ""
}

// leases: every endpoint has its address, none is given twice, and none to nobody.
func (s *stage) leases() string {
	byAddr, byID := map[string]string{}, map[string]netip.Addr{}
	for id, e := range s.hosts[0].manager.store.State().Endpoints.All() {
		at := e.Network + " " + e.IPv4.Addr().String()
		if other, twice := byAddr[at]; twice {
			return fmt.Sprintf("%s is given to %s and %s", at, other, id)
		}
		byAddr[at], byID[id] = id, e.IPv4.Addr()
	}
	for i, eps := range s.eps {
		for _, list := range eps {
			for _, e := range list {
				if byID[e.ID] != e.Addrs[0] {
					return fmt.Sprintf("endpoint %s of host %d has %s, by the managers' word %s", e.ID, i, e.Addrs[0], byID[e.ID])
				}
			}
		}
	}
	if len(byID) != s.living() {
		return fmt.Sprintf("%d leases for %d endpoints", len(byID), s.living())
	}
	return ""
}

func (s *stage) living() (n int) {
	for _, eps := range s.eps {
		for _, list := range eps {
			n += len(list)
		}
	}
	return n
}
