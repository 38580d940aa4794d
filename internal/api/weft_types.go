package api

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/network"

	"weft/internal/node"
)

// The types on the wire under /weft/v1/. Durations are in nanoseconds, MACs and
// addresses in text, raw frames in base64.

// Info is GET /weft/v1/info: the daemon, beyond what Docker's /info can say.
type Info struct {
	ID            string
	Name          string
	Version       string
	PID           int
	Started       time.Time
	DataDir       string
	RunDir        string
	Rootless      bool
	Rung          string // best offload among TAPs
	Uplink        string // "host", "none", "packet:INTERFACE"
	HostLoopback  bool   // sandboxes reach the host's loopback
	Workers       int
	Networks      int
	Sandboxes     int
	Running       int
	Ports         int
	EventsDropped uint64
}

// An FDBEntry is one MAC address known to a network's switch.
type FDBEntry struct {
	Network string
	MAC     network.HardwareAddr
	Port    string // SANDBOX:IFNAME, or "gateway"
	Sandbox string `json:",omitempty"`
	Static  bool
	Age     time.Duration
}

// A Neighbour is one entry of a network's ARP and ND table.
type Neighbour struct {
	Network string
	Addr    netip.Addr
	MAC     network.HardwareAddr
	Sandbox string `json:",omitempty"`
	Static  bool
	Age     time.Duration
}

// PortStats are the counters of one port. Rx came from the sandbox, Tx went to
// it; a superframe counts as one frame and as several packets.
type PortStats struct {
	Port      string // SANDBOX:IFNAME
	Sandbox   string
	SandboxID string
	Network   string
	IfName    string
	MAC       network.HardwareAddr
	Rung      string // offload of its TAP
	Worker    int
	RxFrames  uint64
	RxBytes   uint64
	TxFrames  uint64
	TxBytes   uint64
	RxPackets uint64
	TxPackets uint64
	Drops     map[string]uint64 // frames from the sandbox, by reason
	TxDrops   map[string]uint64 // frames that were to go to it
}

// Peers is GET /weft/v1/peers: the overlays' remote VTEPs and the sockets that
// carry them.
type Peers struct {
	Peers     []PeerStats
	Underlays []Underlay
}

// PeerStats are the counters of one overlay towards one remote VTEP. Rx came from
// it, Tx went to it; a superframe counts as one frame and as several packets.
type PeerStats struct {
	Network   string
	VNI       uint32
	Peer      netip.AddrPort
	Cipher    string `json:",omitempty"` // that seals what goes there; none: the network is in clear
	MTU       int    // of the path, for frames without their Ethernet header
	RxFrames  uint64
	RxPackets uint64
	RxBytes   uint64
	TxFrames  uint64
	TxPackets uint64
	TxBytes   uint64
	Drops     map[string]uint64 // by reason
	Learned   int               // MAC addresses behind it
	Fault     string            `json:",omitempty"` // why there is no tunnel to it now
}

// An Underlay is one UDP socket that carries overlays.
type Underlay struct {
	Addr        netip.AddrPort
	ESP         bool   // carries encrypted overlays, else those in clear
	InIP        bool   // with ESP: in IP (protocol 50), and Addr's port is 0; else in UDP
	SendRung    string // "gso", "sendmmsg", "sendto"
	ReceiveRung string // "gro", "recvmmsg", "recvfrom"
	Control     uint64 // received datagrams that held no frame and were not meant to: keys, keepalives
	RxDatagrams uint64
	TxDatagrams uint64
	GROMessages uint64 // received with several datagrams in one
	GSOMessages uint64 // sent so
	KernelDrops uint64 // datagrams its receive buffer had no room for
	Fault       string
	Drops       map[string]uint64
}

// A Check is one finding of the doctor.
type Check struct {
	Name   string
	Status node.Status
	Found  string
	Advice string `json:",omitempty"`
}

// A TraceRequest is POST /weft/v1/trace: what would the switch do with this
// frame if it came from this port?
type TraceRequest struct {
	Port  string // SANDBOX or SANDBOX:IFNAME
	Frame []byte // from the destination MAC on
}

// A TraceStep is one step of the answer.
type TraceStep struct {
	Step   string
	Result string
}

// An AttachRequest is POST /weft/v1/attach: take a network namespace that
// somebody else made. Exactly one of PID and NetNS is set; the first network
// is joined first.
type AttachRequest struct {
	Name     string `json:",omitempty"`
	PID      int    `json:",omitempty"`
	NetNS    string `json:",omitempty"`
	Labels   map[string]string
	Networks []AttachNetwork
}

// An AttachNetwork is a network to join, with the endpoint wanted on it.
type AttachNetwork struct {
	Network        string
	EndpointConfig *network.EndpointSettings `json:",omitempty"`
}

// An AttachResponse names the sandbox that stands for the namespace.
type AttachResponse struct {
	ID string `json:"Id"`
}

// CaptureOptions are the parameters of GET /weft/v1/capture.
type CaptureOptions = node.CaptureOptions

// A Node is one node of a swarm, beyond what Docker's can say.
type Node struct {
	ID       string
	Hostname string
	Self     bool
	// Voter is set for a manager whose loss counts. Of the managers the others
	// are standbys with a full copy.
	Voter    bool
	Message  string           // why it is not ready, and what its loss would mean
	DataPath []netip.AddrPort // its VTEP of each family
	Expires  time.Time        // its certificate
}

// A RotateKeysRequest is the body of POST /weft/v1/swarm/rotate-keys.
type RotateKeysRequest struct {
	Period time.Duration `json:",omitempty"` // between rotations from now on, 0: as before
}

// A RestoreResponse answers POST /weft/v1/swarm/restore, whose body is what
// GET /weft/v1/swarm/backup answered.
type RestoreResponse struct {
	NodeID string
}

// A KeyRing is one element of GET /weft/v1/keys: what the node has keys for, the
// networks of one cipher in a swarm or with one secret.
type KeyRing struct {
	Networks   []string // by name
	Cipher     string
	ESN        bool
	Secret     string         `json:",omitempty"` // the file of a static overlay's secret
	VTEP       netip.AddrPort // where this node receives
	Epoch      uint64
	Since      time.Time // when the epoch began here
	Next       time.Time `json:",omitzero"` // when the next begins by itself
	Generation uint64    // of this node's keys: a restart has a higher one
	Peers      []KeyPeer
}

// A KeyPeer is another node that this one shares networks of the ring with.
type KeyPeer struct {
	ID    string // in a swarm; else its VTEP
	Name  string `json:",omitempty"` // in a swarm
	VTEP  string `json:",omitempty"` // where it receives; none: it has announced no key
	Ready bool   // it has shown that it can open what this node sends
	Pairs []KeyPair
}

// A KeyPair is what one epoch gave this node and a peer. Tx was sealed for the peer, Rx
// opened; both in packets and in bytes of ESP's payload.
type KeyPair struct {
	Epoch      uint64
	Generation uint64 // of the peer's keys
	State      string // "receiving", "sending", "retiring"
	Since      time.Time
	Worn       bool // its numbers come to an end
	SAs        int  // of both directions: one for each worker that sends
	TxPackets  uint64
	TxBytes    uint64
	RxPackets  uint64
	RxBytes    uint64
	Replayed   uint64 // refused: it had come already, or too late
	Forged     uint64 // refused: not authentic
}

// An ExportKeysRequest is the body of POST /weft/v1/keys/export.
type ExportKeysRequest struct {
	Network string `json:",omitempty"` // none: all
}

// An ExportedKey is one element of its answer: what opens all that goes by one SA.
type ExportedKey struct {
	From, To  netip.Addr
	SPI       uint32
	Cipher    string
	ESN       bool
	Key       []byte // with the salt of 4 bytes behind it
	Wireshark string // the line of Wireshark's table of ESP SAs
}
