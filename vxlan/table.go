package vxlan

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"weft/internal/frame"
	"weft/ipsec"
)

// Theory of operation: the table
//
// A VTEP is known by its address alone, for a foreign one chooses the source port
// of each datagram freely (RFC 7348, 5). Only where several peers share one
// address, as several nodes on one machine do, does the port tell them apart;
// they then send from the port they listen on, as this node does to them, and to
// everybody when it shares its own address with one of them (see Shared).
//
// So the table has two levels: the address leads to a peer, or to the mark that
// the port is needed as well; the peer leads from a VNI to a switch port. A table
// is built once, published whole and never changed. The zone of an IPv6 address
// is no part of it.

// A Route says that what comes from a peer for a network belongs to a port of
// the switch.
type Route struct {
	Peer netip.AddrPort // where the VTEP listens; port 0 stands for Port
	VNI  uint32
	Port uint32 // the port's slot in the switch
	// Sealed says that the network is encrypted: what comes in clear is dropped,
	// whatever Port says.
	Sealed bool
	// Keys is, on a socket for ESP, what the peer's packets are opened by: it stands for
	// the peer, whose address is nobody's proof.
	Keys *ipsec.Peer
}

// inClear is the port of what must not come in clear.
const inClear = 1<<32 - 1

// A Table holds the routes of a socket. It is immutable; [Socket.SetTable]
// replaces it whole.
type Table struct {
	peers  map[source]*vtep
	sealed map[*ipsec.Peer]*vtep
	fixed  bool // a peer has this node's own address
}

// A source is the sender of a datagram: an IPv6 or IPv4-mapped address in two
// words, and a port or 0.
type source struct {
	hi, lo uint64
	port   uint16
}

// A vtep is one remote VTEP, or all that share an address.
type vtep struct {
	shared bool
	peer   netip.AddrPort
	ports  map[uint32]uint32 // by VNI
}

// NewTable returns a table of the routes. A peer whose address no other peer has
// is known by the address alone, others by address and port. Of several routes
// for the same peer and VNI the last counts. own are the node's own underlay
// addresses: a peer may have one of them too, with another port.
func NewTable(routes []Route, own ...netip.Addr) *Table {
	t := &Table{peers: make(map[source]*vtep), sealed: make(map[*ipsec.Peer]*vtep)}
	for _, r := range routes {
		if r.Keys != nil {
			t.sealedPeer(r.Keys).ports[r.VNI] = r.Port
			continue
		}
		peer := canonical(r.Peer)
		if r.Sealed {
			r.Port = inClear
		}
		t.peerOf(peer).ports[r.VNI] = r.Port
		t.fixed = t.fixed || slices.Contains(own, peer.Addr())
	}
	return t
}

// peerOf returns the entry of a peer, made if it is new.
func (t *Table) peerOf(peer netip.AddrPort) *vtep {
	alone, exact := sourceOf(peer), sourceOf(peer)
	alone.port = 0
	first := t.peers[alone]
	if first == nil {
		p := &vtep{peer: peer, ports: make(map[uint32]uint32)}
		t.peers[alone] = p
		return p
	}
	if !first.shared {
		if first.peer == peer {
			return first
		}
		// The second peer of an address: from now on the port counts.
		t.peers[alone] = &vtep{shared: true}
		t.peers[sourceOf(first.peer)] = first
	}
	p := t.peers[exact]
	if p == nil {
		p = &vtep{peer: peer, ports: make(map[uint32]uint32)}
		t.peers[exact] = p
	}
	return p
}

// sealedPeer is peerOf for who is known by its keys.
func (t *Table) sealedPeer(keys *ipsec.Peer) *vtep {
	p := t.sealed[keys]
	if p == nil {
		p = &vtep{ports: make(map[uint32]uint32)}
		t.sealed[keys] = p
	}
	return p
}

// opened returns the peer whose keys opened a packet, nil if no route has them.
func (t *Table) opened(keys *ipsec.Peer) *vtep {
	if t == nil {
		return nil
	}
	return t.sealed[keys]
}

// canonical returns a peer's address as the table knows it.
func canonical(peer netip.AddrPort) netip.AddrPort {
	port := peer.Port()
	if port == 0 {
		port = Port
	}
	return netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), port)
}

// Lookup returns the switch port of what came from src for a network, or
// UnknownVTEP, UnknownVNI or Cleartext. An IPv4-mapped source is the IPv4 address.
func (t *Table) Lookup(src netip.AddrPort, vni uint32) (port uint32, r frame.Reason) {
	p := t.find(sourceOf(src))
	if p == nil {
		return 0, frame.UnknownVTEP
	}
	return p.port(vni)
}

// port returns the switch port of a network.
func (p *vtep) port(vni uint32) (port uint32, r frame.Reason) {
	port, ok := p.ports[vni]
	switch {
	case !ok:
		return 0, frame.UnknownVNI
	case port == inClear:
		return 0, frame.Cleartext
	}
	return port, frame.NotDropped
}

// find returns the peer that a source is, nil if it is none.
func (t *Table) find(s source) *vtep {
	if t == nil {
		return nil
	}
	p := t.peers[source{hi: s.hi, lo: s.lo}]
	if p == nil || !p.shared {
		return p
	}
	if s.port == 0 { // that is where the mark stands
		return nil
	}
	return t.peers[s]
}

// Shared reports whether datagrams to an address leave from the listening port,
// by which their receiver tells this node from others: because several peers have
// the address, or one has this node's own.
func (t *Table) Shared(a netip.Addr) bool {
	if t == nil || t.fixed {
		return t != nil
	}
	p := t.peers[sourceOf(netip.AddrPortFrom(a, 0))]
	return p != nil && p.shared
}

// addrPort returns a source as an address and port.
func (s source) addrPort() netip.AddrPort {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], s.hi)
	binary.BigEndian.PutUint64(b[8:], s.lo)
	return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), s.port)
}

func sourceOf(a netip.AddrPort) source {
	b := a.Addr().As16()
	return source{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]), a.Port()}
}
