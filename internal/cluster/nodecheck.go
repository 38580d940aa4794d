package cluster

import (
	"net/netip"
	"strings"
	"unicode"

	"weft/internal/cnm"
)

// checkNode refuses what a node cannot be that says this of itself: all others are
// told to send there. Its errors are cnm.Invalid.
func checkNode(n *Node, role cnm.Role) error {
	if n.Hostname == "" || len(n.Hostname) > maxName || strings.ContainsFunc(n.Hostname, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return cnm.Errorf(cnm.Invalid, "host name %.60q: 1 to %d printable bytes expected", n.Hostname, maxName)
	}
	if len(n.DataPath) > 2 {
		return cnm.Errorf(cnm.Invalid, "%d data path addresses: one of each family expected", len(n.DataPath))
	}
	for _, a := range append([]netip.AddrPort{n.Gossip}, n.DataPath...) {
		if !hostPort(a) {
			return cnm.Errorf(cnm.Invalid, "%s is no address of a host", a)
		}
	}
	if role == cnm.Manager && !hostPort(n.Control) {
		return cnm.Errorf(cnm.Invalid, "control address %s is no address of a host", n.Control)
	}
	return nil
}

func hostPort(a netip.AddrPort) bool { return a.Port() != 0 && hostAddr(a.Addr()) }
