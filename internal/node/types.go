package node

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/tap"
)

// A Config says where a daemon keeps its state and how large it may grow. The
// zero value of every member but DataDir and RunDir means the default.
type Config struct {
	DataDir string // journal and logs; kept over reboots
	RunDir  string // sockets and files of running sandboxes
	Exe     string // the weft binary, re-executed as agent; default: this one
	Version string // shown in Info
	Log     *slog.Logger
	// Pools are the address pools networks without a subnet are cut from;
	// empty means Docker's own.
	Pools []AddressPool
	// Workers is the number of data path goroutines; default: one per CPU, at
	// least two.
	Workers int
	// MaxEvents bounds the history Events can look back on.
	MaxEvents int
	// TAPOffload is the best offload rung TAPs are used on; the zero value is the
	// best the kernel grants.
	TAPOffload tap.Rung
	// Uplink is how frames leave the machine, HostLoopback whether they may go to the
	// machine's own loopback, by a network's gateway.
	Uplink       Uplink
	HostLoopback bool
	// ResolvConf is the host's resolv.conf, whose servers, search list and options sandboxes
	// have; default: /etc/resolv.conf.
	ResolvConf string
	// NoGuard switches anti-spoofing off for every endpoint.
	NoGuard bool
	// DataPathAddrs are the addresses overlays are carried over, at most one per
	// family; AdvertiseAddr is the one other nodes know this one by.
	DataPathAddrs []netip.Addr
	AdvertiseAddr netip.Addr
	// DataPathPort is where this node listens for overlays, and where it sends to
	// peers without a port of their own; default: 4789.
	DataPathPort uint16
	// ESPPort (UDP) is where it receives what is sealed; default: 4500.
	ESPPort uint16
	// ESPInIP has it send ESP in IP (protocol 50) to peers that receive it so, and
	// receive it so beside UDP. It takes CAP_NET_RAW.
	ESPInIP bool
	// ESPKeepalive is the time between two keepalives to each peer (RFC 3948, 2.3), by
	// which NATs keep their mappings; default: 20 s, negative: none are sent.
	ESPKeepalive time.Duration
	// NodeName is the node's name in a swarm; default: the host's.
	NodeName string
	// ControlPort (TCP) is where it listens as a manager of one, GossipPort (TCP and
	// UDP) where it gossips; default: 2377 and 7946.
	ControlPort, GossipPort uint16
	Gossip                  GossipTimes
	// NoGSO and NoGRO switch UDP segmentation offload off for sending and
	// receiving.
	NoGSO, NoGRO bool
	// StandardAES has the standard library compute AES-GCM, on processors that have a
	// faster way as well.
	StandardAES bool
}

// DefaultDataPathPort is VXLAN's (RFC 7348, 5).
const DefaultDataPathPort = 4789

// DefaultESPKeepalive is what RFC 3948, 4, recommends.
const DefaultESPKeepalive = 20 * time.Second

// The ports of a swarm, Docker's.
const (
	DefaultControlPort = 2377
	DefaultGossipPort  = 7946
)

// GossipTimes say how often a swarm's nodes speak and how patient they are; zero
// values are the defaults.
type GossipTimes struct {
	Far          bool          // nodes are at far sites: other defaults
	Round        time.Duration // between two rounds of gossip
	Probe        time.Duration // between two probes of another node's life
	ProbeTimeout time.Duration // for an answer
	Sync         time.Duration // between two comparisons of a network's tables
}

// An AddressPool is a prefix that is cut into subnets of Size bits.
type AddressPool struct {
	Base netip.Prefix
	Size int
}

// A NetworkView is a network with what is on it.
type NetworkView struct {
	cnm.Network
	Endpoints []EndpointView // of running sandboxes, by interface order of arrival
	Subnets   []SubnetStatus
	Peers     []netip.AddrPort // of an overlay: the remote VTEPs, in the order given
	Nodes     []NetworkNode    // of a network of the swarm: who has it, this node among them
	MTU       int              // of an overlay's interfaces; 0: not known
}

// A NetworkNode is a node that has a network of the swarm.
type NetworkNode struct {
	Name string // host name and the beginning of the id, as Docker's
	Addr netip.Addr
}

// An EndpointView is an endpoint with its sandbox's name, and its own: the same, but
// for that on weft_gwbridge.
type EndpointView struct {
	cnm.Endpoint
	Sandbox string
	Name    string
}

// A SubnetStatus counts the addresses of one subnet.
type SubnetStatus struct {
	Subnet    netip.Prefix
	InUse     uint64 // network address, gateway, aux and broadcast included
	Available uint64 // dynamic addresses left
}

// Info describes the daemon and its host, for `weft info` and GET /info.
type Info struct {
	ID            string // stable over restarts
	Name          string // host name
	Version       string
	Kernel        string // release of the host's kernel
	OS            string // PRETTY_NAME of /etc/os-release
	CPUs          int
	MemTotal      int64 // bytes
	DataDir       string
	RunDir        string
	Rootless      bool
	Started       time.Time
	PID           int
	Sandboxes     int
	Running       int
	Stopped       int
	Networks      int
	Ports         int    // ports on the switch
	Workers       int    // data path goroutines
	Uplink        string // "host", "none", "packet:INTERFACE"
	HostLoopback  bool   // sandboxes reach the host's loopback
	Rung          string // best offload rung among TAPs: "uso", "tso", "plain", "water"
	Pools         []AddressPool
	EventsDropped uint64
}

// AttachOptions says which ends of a sandbox's main process are wanted.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	Logs                  bool // replay what the log holds first
}

// A Stream carries a process's input and output. Next and the writer may be used
// by one goroutine each.
type Stream interface {
	// Stdin returns where to write the process's input; closing it is
	// end of file. It is never nil; without input asked for, writes fail.
	Stdin() io.WriteCloser
	// Next returns the next piece of output, its source fd being 1 or 2 (with
	// a terminal always 1). The data is valid until the next call. io.EOF
	// follows the last piece after the process has ended.
	Next() (fd int, data []byte, err error)
	// Close detaches. The process goes on. A blocked Next returns.
	Close() error
}

// LogOptions selects lines of a sandbox's log.
type LogOptions struct {
	Follow         bool
	Tail           int // last lines wanted; negative: all
	Since, Until   time.Time
	Timestamps     bool // the caller's to print; LogLine always has the time
	Stdout, Stderr bool
}

// A LogLine is one entry of the log; Text usually ends with a newline.
type LogLine struct {
	Stream string // "stdout", "stderr"
	Time   time.Time
	Text   []byte
}

// A LogReader yields log lines, io.EOF at the end. With Follow, Next waits for
// more until the sandbox has ended or Close is called; without, the end is where
// the log ended when the reader was made.
type LogReader interface {
	Next() (LogLine, error)
	Close() error
}

// An ExecSpec is a further process to run in a sandbox.
type ExecSpec struct {
	Cmd                   []string
	Env                   []string // added to the sandbox's own
	Dir                   string
	TTY                   bool
	Stdin, Stdout, Stderr bool
}

// ExecInfo is the state of an exec.
type ExecInfo struct {
	ID        string
	SandboxID string
	Running   bool
	ExitCode  *int // nil until it has ended
	PID       int
	Spec      ExecSpec
}

// An FDBEntry is one address in a network's forwarding table.
type FDBEntry struct {
	Network string
	MAC     frame.MAC
	VLAN    uint16 // 0: untagged
	Port    string // SANDBOX:IFNAME, or "gateway"
	Sandbox string // name; empty for the gateway
	Static  bool
	Age     time.Duration // since last seen; 0 for static entries
}

// A Neighbour is one entry of a network's ARP/ND table.
type Neighbour struct {
	Network string
	Addr    netip.Addr
	MAC     frame.MAC
	Sandbox string // name; empty for the gateway and for learned ones
	Static  bool
	Age     time.Duration
}

// PortStats are the counters of one port of the switch. Rx is what came from
// the sandbox, Tx what went to it. A superframe counts as one frame.
type PortStats struct {
	Port      string // SANDBOX:IFNAME
	Sandbox   string // name
	SandboxID string
	Network   string
	IfName    string
	MAC       frame.MAC
	Rung      string // offload rung of its TAP
	Worker    int    // which data path goroutine serves it
	RxFrames  uint64
	RxBytes   uint64
	TxFrames  uint64
	TxBytes   uint64
	RxPackets uint64            // wire frames the frames stand for
	TxPackets uint64            //
	Drops     map[string]uint64 // frames from the sandbox, by reason, non-zero ones only
	TxDrops   map[string]uint64 // frames that were to go to it
}

// PeerStats are the counters of one overlay towards one remote VTEP. Rx came from
// it, Tx went to it; a superframe counts as one frame.
type PeerStats struct {
	Network   string
	VNI       uint32
	Peer      netip.AddrPort
	Cipher    string // that seals what goes there; empty: the network is in clear
	MTU       int    // of the path, for frames without their Ethernet header
	RxFrames  uint64
	RxPackets uint64 // wire frames the frames stand for
	RxBytes   uint64
	TxFrames  uint64
	TxPackets uint64
	TxBytes   uint64
	Drops     map[string]uint64 // by reason, both ways, non-zero ones only
	Learned   int               // MAC addresses behind it
	Fault     string            // why there is no tunnel to it now; empty: there is
}

// An Underlay is one UDP socket that carries overlays.
type Underlay struct {
	Addr        netip.AddrPort // bound to
	ESP         bool           // carries encrypted overlays, else those in clear
	InIP        bool           // with ESP: in IP (protocol 50), and Addr's port is 0; else in UDP
	SendRung    string         // "gso", "sendmmsg", "sendto"
	ReceiveRung string         // "gro", "recvmmsg", "recvfrom"
	Control     uint64         // received datagrams that held no frame and were not meant to: keys, keepalives
	RxDatagrams uint64
	TxDatagrams uint64
	GROMessages uint64            // received messages that held several datagrams
	GSOMessages uint64            // sent ones
	KernelDrops uint64            // datagrams its receive buffer had no room for
	Fault       string            // the underlay's last error, but for a full buffer
	Drops       map[string]uint64 // that belong to no peer, by reason, non-zero ones only
}

// TraceOptions is a question to the switch: what would you do with this frame?
type TraceOptions struct {
	Port  string // SANDBOX or SANDBOX:IFNAME the frame comes from
	Frame []byte // from the destination MAC on
}

// A TraceStep is one step of the answer.
type TraceStep struct {
	Step   string // the step's name: "guard", "learn", "forward", ...
	Result string // what it did and why
}

// CaptureOptions selects frames to capture.
type CaptureOptions struct {
	Network string // reference; empty: all
	Port    string // SANDBOX or SANDBOX:IFNAME; empty: all
	Before  bool   // as they enter the switch
	After   bool   // as they leave it; neither set means both
	Filter  string // capture.ParseFilter's language; empty: all
	Snaplen int    // bytes kept per frame; 0: all
}

// A Check is one finding of the doctor.
type Check struct {
	Name   string
	Status Status
	Found  string // what this host has
	Advice string // what to do; empty when all is well
}

// Status is how a Check ended.
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)
