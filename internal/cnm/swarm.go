package cnm

import (
	"net/netip"
	"time"
)

// A Role is what a node does in a swarm: managers keep its state, workers follow.
type Role string

// The roles, by their names in Docker's API.
const (
	Manager Role = "manager"
	Worker  Role = "worker"
)

// An Availability says what may be given to a node. weft starts nothing by
// itself: it is kept, shown, and of use to whoever balances.
type Availability string

// The availabilities, by their names in Docker's API.
const (
	Active Availability = "active"
	Pause  Availability = "pause"
	Drain  Availability = "drain"
)

// A NodeSpec is what a user may say about a node of a swarm.
type NodeSpec struct {
	Name         string // empty: the host name
	Role         Role
	Availability Availability
	Labels       map[string]string
}

// A SwarmNode is one node of a swarm.
type SwarmNode struct {
	ID       string // 25 characters, base 36
	Version  uint64 // of the store, when Spec last changed; an update must name it
	Created  time.Time
	Updated  time.Time
	Spec     NodeSpec
	Hostname string
	// Addr is where it says it can be reached, Control where its manager listens
	// (invalid: a worker), DataPath its VTEP of each family.
	Addr     netip.Addr
	Control  netip.AddrPort
	DataPath []netip.AddrPort
	// What is known of it now.
	State   NodeState
	Message string // why it is not ready, and what a loss of it would mean
	Self    bool   // the node that was asked
	Leader  bool   // of the managers
	Voter   bool   // a manager whose loss counts: the others are standbys with a full copy
	Reaches bool   // a manager that the one asked reaches
	// Expires is when its certificate ends. OldRoot: the root that signed it is being
	// replaced, and the node has yet to renew.
	Expires time.Time
	OldRoot bool
}

// A NodeState is what the swarm knows of a node's life.
type NodeState string

// The states, by their names in Docker's API.
const (
	NodeReady        NodeState = "ready"
	NodeDown         NodeState = "down"
	NodeUnknown      NodeState = "unknown"
	NodeDisconnected NodeState = "disconnected"
)

// A SwarmSpec is what a user may set of a swarm.
type SwarmSpec struct {
	Labels      map[string]string
	CertExpiry  time.Duration // of node certificates
	KeyRotation time.Duration // between two rotations of the gossip's keys
	AutoLock    bool
}

// A Swarm is the cluster as its managers know it.
type Swarm struct {
	ID           string
	Version      uint64
	Created      time.Time
	Updated      time.Time
	Spec         SwarmSpec
	Pools        []netip.Prefix // that overlays' subnets are cut from
	SubnetSize   int            // bits of these subnets
	DataPathPort uint16
	RootPEM      []byte // of the certificates
	WorkerToken  string
	ManagerToken string
	// RootRotation is set while two roots are trusted: RootPEM, which signs, and
	// OldRootPEM, which some nodes' certificates are still of.
	RootRotation bool
	OldRootPEM   []byte
}

// SwarmInit are the choices at the making of a swarm; zero values are Docker's
// defaults.
type SwarmInit struct {
	Spec            SwarmSpec
	Pools           []netip.Prefix
	SubnetSize      int
	Availability    Availability
	ForceNewCluster bool // of what this manager has, alone
}

// SwarmJoin are the choices at joining one.
type SwarmJoin struct {
	Remotes      []netip.AddrPort // managers to ask, control addresses
	Token        string
	Availability Availability
}

// SwarmRotate names what an update of a swarm makes anew.
type SwarmRotate struct {
	WorkerToken, ManagerToken, UnlockKey, Root, Keys bool
}

// SwarmInfo is what a node says of itself in a swarm, whether it is in one or not.
type SwarmInfo struct {
	State    string // "inactive", "pending", "active", "locked", "error"
	Error    string
	NodeID   string
	Cluster  string
	Addr     netip.Addr
	Manager  bool
	Managers int
	Nodes    int
	Remotes  []netip.AddrPort // the managers' control addresses
	// Where the daemon's flags put it, in a swarm or not: Control is where its
	// manager listens or would, DataPath its VTEP of each family. Invalid and
	// empty where it has not chosen yet.
	Control  netip.AddrPort
	DataPath []netip.AddrPort
}
