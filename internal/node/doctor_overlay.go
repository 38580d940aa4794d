package node

import (
	"fmt"
	"net/netip"

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

// tunnelChecks tell of the sockets that carry overlays now: a ladder may have gone
// down since they were opened.
func (n *Node) tunnelChecks() (checks []Check) {
	_, sockets := n.Peers()
	for _, u := range sockets {
		c := good("overlay at "+u.Addr.String(), "send %s, receive %s, %d datagrams out, %d in", u.SendRung, u.ReceiveRung, u.TxDatagrams, u.RxDatagrams)
		if u.Fault != "" {
			c = c.warn("the underlay's last error was: " + u.Fault)
		} else if u.KernelDrops > 0 {
			c = c.warn(fmt.Sprintf("%d datagrams found its receive buffer full: raise net.core.rmem_max", u.KernelDrops))
		}
		checks = append(checks, c)
	}
	n.path.mu.Lock()
	defer n.path.mu.Unlock()
	for _, f := range compareFaults(nil, n.path.faults) {
		checks = append(checks, good("switch", "%v", f.err).fail("as the error says; it is tried again every second"))
	}
	return checks
}
