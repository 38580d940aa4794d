package node

import (
	"fmt"
	"net/netip"
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

// check tells of one socket that carries overlays.
func (us *underlaySocket) check(now time.Time) Check {
	u := us.view()
	c := good("overlay at "+u.Addr.String(), "send %s, receive %s, %d datagrams out, %d in", u.SendRung, u.ReceiveRung, u.TxDatagrams, u.RxDatagrams)
	var advice []string
	if u.Fault != "" {
		advice = append(advice, "the underlay's last error was: "+u.Fault)
	}
	if u.KernelDrops > 0 {
		advice = append(advice, fmt.Sprintf("%d datagrams found its receive buffer full: raise net.core.rmem_max", u.KernelDrops))
	}
	if !us.strangeAt.IsZero() && now.Sub(us.strangeAt) < strangeFor {
		c.Found += fmt.Sprintf(", unknown-vni=%d unknown-vtep=%d", u.Drops[frame.UnknownVNI.String()], u.Drops[frame.UnknownVTEP.String()])
		advice = append(advice, "another node sends what no network here expects: compare weft.vni and weft.peers on all nodes (weft peers ls --underlay counts)")
	}
	if len(advice) > 0 {
		c = c.warn(strings.Join(advice, "\n"))
	}
	return c
}
