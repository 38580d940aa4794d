package store

import (
	"net/netip"
	"time"

	"weft/internal/cnm"
)

// A State is all that the managers agree on, at one moment. It is immutable:
// what a reader got, maps and slices in it included, never changes and must not
// be changed.
type State struct {
	// Version grows with every change; it is the index of the log entry that made
	// the last one.
	Version   uint64
	Cluster   Cluster
	Nodes     Table[Node]
	Networks  Table[Network]
	Endpoints Table[Endpoint]
}

// A Cluster is what is known of the swarm as a whole. ID is empty before there is
// one.
type Cluster struct {
	ID      string
	Version uint64 // when Spec, roots or secrets last changed; an update must name it
	Created time.Time
	Updated time.Time
	Spec    cnm.SwarmSpec
	// Pools are what subnets of overlays are cut from, in parts of SubnetSize bits
	// (of an IPv6 pool: 64). They stay as they were at the beginning.
	Pools        []netip.Prefix
	SubnetSize   int
	DataPathPort uint16
	// Roots are the certificate authorities that are trusted; the first one issues.
	Roots   []Root
	Secrets Secrets
	// GossipKeys seal the gossip: the first is sealed with, all are opened with.
	GossipKeys [][]byte
	// Epoch numbers the keys of encrypted networks; EpochSince is when it began, zero
	// if the next is to begin at once.
	Epoch      uint64
	EpochSince time.Time
	// UnlockKey seals the managers' stores when Spec.AutoLock is set.
	UnlockKey string
	// Removed are the nodes that were managers and are gone, with the time at which
	// the last certificate that says so ends.
	Removed map[string]time.Time
}

// A Root is one certificate authority. Key is empty where only the certificate is
// known; Cross is this root signed by the one before it, while that is trusted.
type Root struct {
	Certificate, Key, Cross []byte // PEM
}

// Secrets are those of the join tokens.
type Secrets struct {
	Worker, Manager string
}

// A Node is one member.
type Node struct {
	ID       string
	Version  uint64 // when Spec last changed; an update must name it
	Created  time.Time
	Updated  time.Time
	Spec     cnm.NodeSpec
	Hostname string
	Addr     netip.Addr       // where it says it can be reached
	Control  netip.AddrPort   // of its manager; invalid for a worker
	Gossip   netip.AddrPort   // of its gossip
	DataPath []netip.AddrPort // its VTEPs, one of each family at most
	// Certificate is the last one it was given; ManagerUntil is the end of the last
	// one that said it is a manager.
	Certificate  Certificate
	ManagerUntil time.Time
}

// Name returns what a user calls the node by.
func (n Node) Name() string {
	if n.Spec.Name != "" {
		return n.Spec.Name
	}
	return n.Hostname
}

// A Certificate is one that was issued to a node.
type Certificate struct {
	Serial  string
	Issued  time.Time
	Expires time.Time
	Manager bool   // it says that the node is a manager
	Root    string // SHA-256 of the root certificate that it was issued under, hex
	Key     string // SHA-256 of the public key it is for, hex
}

// A Network is one that the whole swarm knows. The pools of its IPAM are what
// they became: subnets chosen, gateways taken.
type Network struct {
	cnm.Network
	Version uint64 // when it was made
	// VNIs are one for each IPv4 subnet in order; without any, one for each subnet,
	// and one for a network without subnets.
	VNIs []uint32
	// Latest is the address given last in each pool: the next one goes on behind.
	Latest []netip.Addr
	// Endpoints counts those of the network.
	Endpoints int
}

// An Endpoint is an address that is in use.
type Endpoint struct {
	ID      string
	Version uint64       // when it was made
	Network string       // id
	Node    string       // id
	IPv4    netip.Prefix // with the subnet's length; invalid when there is none
	IPv6    netip.Prefix
}

// Bounds of the state. Every manager must have the same ones: they decide what a
// command does.
const (
	MaxCommand    = 1 << 20 // bytes of an encoded command
	MaxNodes      = 4096
	MaxNetworks   = 8192
	MaxEndpoints  = 1 << 20
	MaxGossipKeys = 3
	MaxRoots      = 3
)
