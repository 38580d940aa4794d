package frame

// A Verdict is how a frame ended. Every frame ends as exactly one; tests add
// them up.
type Verdict uint8

// The verdicts.
const (
	Pending   Verdict = iota // still under way
	Forwarded                // left through one or more ports
	Consumed                 // answered or used up by the switch itself
	Kept                     // copied into a bounded store, to go on later
	Dropped                  // ended, with a Reason
)

// String returns the lower-case name.
func (v Verdict) String() string { return verdictNames[v] }

var verdictNames = [...]string{"pending", "forwarded", "consumed", "kept", "dropped"}

// A Reason names why a frame was dropped. It is a counter, never an error.
type Reason uint8

// The reasons, in the order of the steps that give them.
const (
	NotDropped Reason = iota

	// read
	Runt      // shorter than an Ethernet header
	Oversized // longer than MaxFrame, or than a record of a capture may be
	// open
	BadESP     // not an ESP packet, or its padding contradicts itself (RFC 4303, 2)
	UnknownSPI // no security association has the sender's address and this SPI
	Replayed   // the sequence number has come already, or is behind the window
	BadICV     // not authentic
	// decap
	BadVXLAN    // the datagram's VXLAN header names no network (RFC 7348, 5)
	UnknownVTEP // the datagram comes from an address that no peer has
	UnknownVNI  // the peer shares no network of that VNI with this node
	Cleartext   // not sealed, and the network is encrypted
	// view
	BadOffload // the virtio header lies about the frame
	BadHeader  // a network or transport header contradicts the frame's length
	BadSource  // source MAC is a group address or all zero
	// guard
	SpoofedMAC // source MAC is not the endpoint's own
	SpoofedIP  // source IP, or an ARP or ND sender, is not the endpoint's own
	RAGuard    // router advertisement or redirect from an endpoint, or what may hide one
	DHCPGuard  // DHCP server message from an endpoint, or what may hide one
	LLCGuard   // IP or ARP behind an LLC/SNAP header, where nobody would look at it
	VLANGuard  // 802.1Q tag on a port that may not send any
	QueryGuard // IGMP or MLD query from an endpoint, which is no router
	// learn
	MACLimit  // the port has learned as many addresses as it may
	StaticMAC // source MAC is bound statically to another port
	// answer
	BadARP     // malformed ARP or ND, or one that claims a switch's own address
	UnknownARP // neighbour unknown and the network does not flood
	// translate
	Martian       // from or to an address that nobody has on that side
	Land          // from itself to itself
	SourceRouted  // source route option or routing header
	PortZero      // TCP or UDP from or to port 0
	TTLExceeded   // no hop is left for this router's
	NoPorts       // neither TCP, UDP nor an ICMP query: nothing to tell flows apart by
	StaysInside   // to an address of a network of weft's own, which never leaves
	NoFlow        // no flow and no published port of this address and port
	BadState      // a TCP segment that begins no connection, nor belongs to one
	BadICMP       // ICMP error with a wrong checksum, or about a malformed packet
	StrayICMP     // ICMP error about a packet of no flow
	BadFragment   // tiny, misaligned, or overlapping another
	StrayFragment // the first fragment of its datagram has not been seen
	FlowsFull     // the flow table is full and nobody was to be evicted
	SourceFlows   // the endpoint has as many flows as it may
	PortsFull     // no port or identifier is left on the outside
	TupleTaken    // another flow has the same addresses and ports already
	// snoop
	BadIGMP // malformed IGMP or MLD message
	// route
	NoNeighbour // the next hop outside is not known, and has been asked
	// forward
	Reserved       // 01:80:C2:00:00:0X link-local group, never forwarded by a bridge (IEEE 802.1Q 8.6.3)
	UnknownGateway // addressed to the gateway, which offers nothing of the kind
	NoRoute        // needs a way out that this network does not have
	SamePort       // the destination is where it came from
	Isolated       // ports of this network do not talk to each other
	SplitHorizon   // from a tunnel, and only tunnels that have it already are left
	NoPort         // nobody else is on the network
	UnknownMAC     // unknown unicast and the network does not flood
	QuietTunnel    // group frame that only tunnels were left for, where they carry none
	NoListener     // multicast to a group that nobody else listens to
	// seal
	NoKey // no security association to send by, or one at the end of its numbers
	// write
	PortDown     // egress port is going away
	TooBig       // does not fit the egress port and cannot be split
	Unsegment    // left undone by the sender and cannot be split
	WriteFailed  // the egress device refused it
	WriteBlocked // the egress device is full
	Impaired     // lost on purpose
	reasons
)

// Reasons is the number of drop reasons, NotDropped included.
const Reasons = int(reasons)

// String returns the counter's name, as shown by stats, capture and trace.
func (r Reason) String() string { return reasonNames[r] }

var reasonNames = [Reasons]string{
	NotDropped: "not-dropped",
	Runt:       "runt", Oversized: "oversized",
	BadESP: "bad-esp", UnknownSPI: "unknown-spi", Replayed: "replayed", BadICV: "bad-icv", NoKey: "no-key",
	BadVXLAN: "bad-vxlan", UnknownVTEP: "unknown-vtep", UnknownVNI: "unknown-vni", Cleartext: "cleartext",
	BadOffload: "bad-offload", BadHeader: "bad-header", BadSource: "bad-source",
	SpoofedMAC: "spoofed-mac", SpoofedIP: "spoofed-ip", RAGuard: "ra-guard", DHCPGuard: "dhcp-guard", LLCGuard: "llc-guard", VLANGuard: "vlan-guard",
	QueryGuard: "query-guard", BadIGMP: "bad-igmp", NoListener: "no-listener",
	MACLimit: "mac-limit", StaticMAC: "static-mac", Reserved: "reserved-group", UnknownARP: "unknown-neighbour",
	BadARP: "bad-arp", UnknownGateway: "gateway-unserved", NoRoute: "no-route",
	Martian: "martian", Land: "land", SourceRouted: "source-routed", PortZero: "port-zero", TTLExceeded: "ttl-exceeded", NoPorts: "no-ports",
	StaysInside: "stays-inside", NoFlow: "no-flow", BadState: "bad-tcp-state", BadICMP: "bad-icmp-error", StrayICMP: "stray-icmp-error",
	BadFragment: "bad-fragment", StrayFragment: "stray-fragment", FlowsFull: "flow-table-full", SourceFlows: "source-flow-limit",
	PortsFull: "ports-exhausted", TupleTaken: "flow-conflict",
	NoNeighbour: "no-neighbour",
	SamePort:    "same-port", Isolated: "isolated", SplitHorizon: "split-horizon", NoPort: "no-port", UnknownMAC: "unknown-mac", QuietTunnel: "quiet-tunnel",
	PortDown: "port-down", TooBig: "too-big", Unsegment: "unsegmentable",
	WriteFailed: "write-failed", WriteBlocked: "write-blocked", Impaired: "impaired",
}
