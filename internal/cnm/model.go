package cnm

import (
	"net/netip"
	"slices"
	"time"

	"weft/internal/frame"
)

// A Network is one CNM network: endpoints on it reach each other, endpoints on
// different networks do not. The fields are those of the Docker Engine API's
// network object.
type Network struct {
	ID         string // 64 hex digits
	Name       string
	Created    time.Time
	Scope      string // ScopeLocal, ScopeSwarm
	Driver     string // "bridge", "none" (API name "null"), "host", ...
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       IPAM
	Internal   bool // no way out, no default route
	Attachable bool
	Ingress    bool
	ConfigFrom string // name of the config-only network the settings came from
	ConfigOnly bool
	Options    map[string]string
	Labels     map[string]string
}

// The scopes of networks: one node's own, or of all nodes of a swarm.
const (
	ScopeLocal = "local"
	ScopeSwarm = "swarm"
)

// IPAM is a network's address management: who gives the addresses, and from
// where.
type IPAM struct {
	Driver  string // "default", "null"
	Options map[string]string
	Config  []Pool
}

// A Pool is one subnet of a network, as the user asked for it and, once
// allocated, as it became. Invalid (zero) members were not given.
type Pool struct {
	Subnet  netip.Prefix
	IPRange netip.Prefix
	Gateway netip.Addr
	Aux     map[string]netip.Addr // reserved addresses by name
	// Auto says that the subnet was chosen from the default pools, not by the
	// user. Static addresses are refused on such a network, as in Docker.
	Auto bool
}

// An EndpointConfig is what a user asks for when a sandbox joins a network.
type EndpointConfig struct {
	IPv4       netip.Addr // requested address, invalid for any
	IPv6       netip.Addr
	LinkLocal  []netip.Addr
	MAC        frame.MAC // zero for one derived from the IPv4 address
	Aliases    []string
	Links      []string
	DriverOpts map[string]string
	GwPriority int
}

// An Endpoint is a sandbox's place on one network: one interface with its
// addresses. Addresses are taken when it is created and released when it goes.
type Endpoint struct {
	ID        string // 64 hex digits
	NetworkID string
	Network   string // name
	SandboxID string
	Config    EndpointConfig
	IfName    string // eth0, eth1, ... in join order
	MAC       frame.MAC
	IPv4      netip.Prefix // with the subnet's length; invalid when there is none
	IPv6      netip.Prefix
	Gateway4  netip.Addr // the network's gateway; invalid when there is none
	Gateway6  netip.Addr
	MTU       int
	DNSNames  []string
	// WayOut marks the endpoint on weft_gwbridge that weft itself gave the sandbox,
	// for none of its networks leads out: see [NeedsGateway]. It is none of the
	// networks that the sandbox is shown to be on.
	WayOut bool `json:",omitempty"`
}

// Joined returns the endpoints of networks that the sandbox is on because it was asked
// for.
func (s *Sandbox) Joined() []Endpoint {
	return slices.DeleteFunc(slices.Clone(s.Endpoints), func(e Endpoint) bool { return e.WayOut })
}

// A SandboxSpec is what a user asks for with `weft run`: a process in
// namespaces of its own.
type SandboxSpec struct {
	Name        string // unique; generated when empty
	Hostname    string // short id when empty
	Domainname  string
	Cmd         []string
	Env         []string // K=V, complete
	Dir         string   // working directory
	Rootfs      string   // directory that becomes /; empty: the caller's own tree
	TTY         bool
	OpenStdin   bool
	StdinOnce   bool // closed with the input of the first client attached to it
	AutoRemove  bool
	Labels      map[string]string
	Sysctls     map[string]string
	ExtraHosts  []string // name:ip
	DNS         []netip.Addr
	DNSSearch   []string
	DNSOptions  []string
	Expose      []string      // 80/tcp: ports the command serves
	Ports       []PortMapping // to be published
	PublishAll  bool          // those of Expose, too, by ports that the node chooses
	StopSignal  string        // SIGTERM when empty
	StopTimeout time.Duration // 10 s when zero
	// NetworkMode is "none", "host", or empty when Networks says all.
	NetworkMode string
	// Networks are joined in this order: eth0, eth1, ... Empty means the
	// default network, "bridge".
	Networks []NetworkJoin
	// Foreign is set for sandboxes that `weft attach` made: the namespace is
	// somebody else's, no process is started or stopped.
	Foreign *Foreign
}

// NoImage stands for an image where Docker shows one: the caller's own tree.
const NoImage = "scratch"

// Image is the name that lists, inspection and events show for an image.
func (s *SandboxSpec) Image() string {
	switch {
	case s.Foreign != nil:
		return "foreign"
	case s.Rootfs != "":
		return s.Rootfs
	}
	return NoImage
}

// A NetworkJoin names a network and the endpoint wanted on it.
type NetworkJoin struct {
	Network string
	Config  EndpointConfig
}

// A Foreign is a network namespace made by somebody else: exactly one of PID
// and NetNS is set.
type Foreign struct {
	PID   int    // a process in the namespace
	NetNS string // a path such as /run/netns/NAME
}

// State is where a sandbox is in its life.
type State string

// The states, as Docker prints them.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
	Dead    State = "dead" // removal failed half way
)

// A Sandbox is one running or stopped sandbox.
type Sandbox struct {
	ID        string // 64 hex digits
	Spec      SandboxSpec
	Created   time.Time
	State     State
	PID       int // main process as the daemon's pid namespace sees it, 0 when not running
	ExitCode  int
	Error     string // why it failed to start, empty otherwise
	OOMKilled bool
	Started   time.Time
	Finished  time.Time
	NetNS     string          // path of the network namespace
	Endpoints []Endpoint      // in interface order
	Ports     []PublishedPort // sorted; of a running one
	LogPath   string
	LogError  string // why its log is not whole; empty when it is
}

// An Event says that something happened to an object. Type and Action are
// Docker's words: network create|connect|disconnect|destroy, container
// create|start|die|stop|destroy|attach|exec_start...
type Event struct {
	Time       time.Time
	Type       string
	Action     string
	ActorID    string
	Attributes map[string]string
}
