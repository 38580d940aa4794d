package node

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/frame"
	"weft/vxlan"
)

// checkUnderlay opens a socket as an overlay does, on the loopback, and tells
// where its ladders start: what the kernel grants the process.
func checkUnderlay() Check {
	const name = "UDP offloads"
	s, err := vxlan.Listen(vxlan.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		return good(name, "%v", err).fail("overlay networks need UDP sockets")
	}
	defer s.Close()
	st := s.Stats()
	c := good(name, "send %s, receive %s", st.SendRung, st.ReceiveRung)
	for _, note := range []string{st.SendNote, st.ReceiveNote} {
		if note != "" {
			c.Found += "; " + note
		}
	}
	if st.SendRung != vxlan.SendGSO || st.ReceiveRung != vxlan.ReceiveGRO {
		return c.warn("overlay networks are several times slower without UDP_SEGMENT (Linux 4.18) and UDP_GRO (5.0)")
	}
	return c
}

// strangeFor is how long doctor warns after the last datagram that no network
// expected: longer than a host that looks for another one waits.
const strangeFor = time.Minute

// tunnelChecks tell of the sockets that carry overlays now: a ladder may have gone
// down since they were opened. Where none is open yet, one is tried.
func (n *Node) tunnelChecks() (checks []Check) {
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	n.path.underlay.watch(n.now())
	open := n.path.underlay.sockets()
	for _, us := range open {
		checks = append(checks, us.check(n.now()))
	}
	said := make(map[string]bool) // the tunnels of a network lack one socket
	for _, f := range compareFaults(nil, n.path.faults) {
		if said[f.err.Error()] {
			continue
		}
		said[f.err.Error()] = true
		name := "switch"
		if dom := n.path.domains[f.network]; dom != nil {
			name = "network " + dom.Name()
		}
		checks = append(checks, good(name, "%v", f.err).fail("as the error says; it is tried again every second"))
	}
	if len(open) == 0 && len(said) == 0 {
		for _, err := range n.path.underlay.cfg.probe() {
			checks = append(checks, good("overlays", "%v", err).warn("overlay networks cannot be carried: as the error says"))
		}
	}
	return checks
}

// strangers tells what came that nobody here expects, and what may mend it.
func (us *underlaySocket) strangers(drops map[string]uint64) (found, advice string) {
	if us.esp {
		return fmt.Sprintf(", bad-icv=%d unknown-vni=%d", drops[frame.BadICV.String()], drops[frame.UnknownVNI.String()]),
			"what comes was changed on its way, or is for a network that this node does not have encrypted: compare weft.vni and -o encrypted on all nodes"
	}
	found = fmt.Sprintf(", unknown-vni=%d unknown-vtep=%d", drops[frame.UnknownVNI.String()], drops[frame.UnknownVTEP.String()])
	advice = "another node sends what no network here expects: compare weft.vni and weft.peers on all nodes"
	if n := drops[frame.Cleartext.String()]; n > 0 {
		found += fmt.Sprintf(" cleartext=%d", n)
		advice += "; it sends in clear what is encrypted here: give -o encrypted on all nodes"
	}
	return found, advice
}

// keyChecks tell of encrypted networks that carry nothing, or not to all.
func (n *Node) keyChecks() (checks []Check) {
	n.mu.Lock()
	faults := maps.Clone(n.keyFaults)
	n.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(faults)) {
		checks = append(checks, good("keys of "+what, "%s", faults[what]).fail("the encrypted network carries nothing there until that is mended"))
	}
	for _, r := range n.Keys() {
		for _, p := range r.Peers {
			if p.Ready {
				continue
			}
			c := good("keys with "+cmp.Or(p.Name, p.ID), "network %s: it has announced no key", strings.Join(r.Networks, ", "))
			if p.VTEP != "" {
				c.Found = fmt.Sprintf("network %s: nothing sealed has come from it", strings.Join(r.Networks, ", "))
			}
			hint := "nothing is sent in clear instead. Does it run, and does UDP get through to its ESP port?"
			if n.cfg.ESPInIP {
				hint += " And IP protocol 50 (--esp-encapsulation)?"
			}
			if r.Secret != "" {
				hint += " Has it the same secret, weft.cipher and weft.esn, and does its clock show the same half of the day?"
			}
			checks = append(checks, c.warn(hint))
		}
	}
	return checks
}

// check tells of one socket that carries overlays.
func (us *underlaySocket) check(now time.Time) Check {
	u := us.view()
	name := "overlay at "
	if u.ESP {
		name = "encrypted overlay at "
	}
	at := u.Addr.String()
	if u.InIP {
		at = u.Addr.Addr().String() + ", IP protocol 50"
	}
	c := good(name+at, "send %s, receive %s, %d datagrams out, %d in", u.SendRung, u.ReceiveRung, u.TxDatagrams, u.RxDatagrams)
	var advice []string
	if u.Fault != "" {
		advice = append(advice, "the underlay's last error was: "+u.Fault)
	}
	if u.KernelDrops > 0 {
		advice = append(advice, fmt.Sprintf("%d datagrams found its receive buffer full: raise net.core.rmem_max", u.KernelDrops))
	}
	if !us.strangeAt.IsZero() && now.Sub(us.strangeAt) < strangeFor {
		found, hint := us.strangers(u.Drops)
		c.Found += found
		advice = append(advice, hint+" (weft peers ls --underlay counts)")
	}
	if len(advice) > 0 {
		c = c.warn(strings.Join(advice, "\n"))
	}
	return c
}
