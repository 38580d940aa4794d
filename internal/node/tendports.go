package node

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"weft/internal/cnm"
)

// Theory of operation: published ports that are tended
//
// The listeners are brought in line after each publishing, and every second by the
// keeper. What is wrong with a port then is its fault: nobody can open it again yet, or
// no interface has the address it listens on any more. The keeper logs a fault once, and
// that it is gone; doctor tells of those there are. What lasts less than a second, while
// the way in moves, nobody hears of.

// tendPorts opens listeners that are missing, and those that lead elsewhere now anew.
func (n *Node) tendPorts() {
	n.portOp.Lock()
	defer n.portOp.Unlock()
	n.tendPortsLocked()
}

func (n *Node) tendPortsLocked() {
	type wanted struct {
		b *box
		p cnm.PublishedPort
	}
	var want []wanted
	n.mu.Lock()
	for _, b := range n.boxes {
		for _, p := range b.sb.Ports {
			want = append(want, wanted{b, p})
		}
	}
	n.mu.Unlock()
	clear(n.portFaults)
	for _, w := range want {
		at := portOf{w.b.sb.ID, w.p}
		by, target, err := n.wayIn(w.b, w.p)
		if l := n.listeners[at]; l != nil {
			if err == nil && l.by == by && l.target == target {
				continue
			}
			l.Close()
			delete(n.listeners, at)
		}
		if err == nil {
			var l *listener
			if l, err = n.open(w.b, w.p); err == nil {
				n.listeners[at] = l
			}
		}
		if err != nil {
			n.portFaults[at] = err
		}
	}
	n.missAddresses()
}

// keepPorts is tendPorts for the keeper, who says what is wrong.
func (n *Node) keepPorts() {
	n.portOp.Lock()
	defer n.portOp.Unlock()
	n.tendPortsLocked()
	if n.own.stopping() {
		return // exits end, and listeners with them
	}
	now := make(map[portOf]string, len(n.portFaults))
	for at, err := range n.portFaults {
		if now[at] = err.Error(); now[at] != n.portSaid[at] {
			n.log.Error("a published port cannot be reached, and is tried again every second", "sandbox", n.nameOf(at), "port", at.Host, "error", err)
		}
	}
	for at := range n.portSaid {
		if _, still := now[at]; !still && n.listeners[at] != nil {
			n.log.Info("a published port can be reached again", "sandbox", n.nameOf(at), "port", at.Host)
		}
	}
	n.portSaid = now
}

// missAddresses finds fault with the listeners on addresses that the host has lost. The
// kernel keeps them, and they are there again when the address is. The caller holds
// portOp.
func (n *Node) missAddresses() {
	lost := make(map[netip.Addr]bool)
	for at := range n.listeners {
		a := at.Host.Addr()
		if a.IsUnspecified() {
			continue
		}
		gone, asked := lost[a]
		if !asked {
			gone = !hasAddress(a)
			lost[a] = gone
		}
		if gone {
			n.portFaults[at] = fmt.Errorf("no interface of this host has address %s any more", a)
		}
	}
}

// hasAddress reports whether sockets can have an address of this host. Only the kernel
// knows: of a loopback subnet, or of a local route, no interface lists all.
func hasAddress(a netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return !errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	c.Close()
	return true
}

func (n *Node) nameOf(at portOf) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b := n.boxes[at.sandbox]; b != nil {
		return b.sb.Spec.Name
	}
	return cnm.ShortID(at.sandbox)
}

// portChecks tell of published ports that cannot be reached.
func (n *Node) portChecks() (checks []Check) {
	n.portOp.Lock()
	defer n.portOp.Unlock()
	for _, at := range slices.SortedFunc(maps.Keys(n.portFaults), comparePortOf) {
		checks = append(checks, good("published port "+at.String(), "%v", n.portFaults[at]).fail("nobody reaches "+n.nameOf(at)+" by it until that is mended; it is tried again every second"))
	}
	return checks
}

func comparePortOf(a, b portOf) int {
	return cmp.Or(a.Host.Compare(b.Host), strings.Compare(a.Proto, b.Proto), strings.Compare(a.sandbox, b.sandbox))
}

// String is 127.0.0.1:8080/tcp.
func (p portOf) String() string { return p.Host.String() + "/" + p.Proto }
