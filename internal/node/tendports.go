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
		b     *box
		ports []cnm.PublishedPort
	}
	var want []wanted
	n.mu.Lock()
	for _, b := range n.boxes {
		if len(b.sb.Ports) > 0 {
			want = append(want, wanted{b, b.sb.Ports})
		}
	}
	n.mu.Unlock()
	clear(n.portFaults)
	for _, w := range want {
		in4, in6 := n.wayIn(w.b, false), n.wayIn(w.b, true)
		for _, p := range w.ports {
			in := in4
			if p.Host.Addr().Is6() {
				in = in6
			}
			n.tendPort(portOf{w.b.sb.ID, p}, in)
		}
	}
	n.missAddresses()
}

// tendPort brings one listener in line with the way in.
func (n *Node) tendPort(at portOf, in way) {
	l := n.listeners[at]
	if in.leads(l) {
		return
	}
	if l != nil {
		l.Close()
		delete(n.listeners, at)
	}
	l, err := in.open(at.PublishedPort)
	if err != nil {
		n.portFaults[at] = err
		return
	}
	n.listeners[at] = l
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

// missAddresses finds fault with the host's listeners on addresses that it has lost. The
// kernel keeps them, and they are there again when the address is. The caller holds
// portOp.
func (n *Node) missAddresses() {
	lost := make(map[netip.Addr]bool)
	for at, l := range n.listeners {
		a := at.Host.Addr()
		if _, host := l.by.(hostExit); !host || a.IsUnspecified() {
			continue // a packet uplink has addresses that the host does not
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
