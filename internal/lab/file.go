package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// A Lab is a lab file, read and checked.
type Lab struct {
	Path      string // as given to Load
	Networks  []Network
	Nodes     []Node // empty: one, unnamed
	Sandboxes []Sandbox
	Services  []Service
	Ports     []Port
	Links     []Link
}

// A Network is a network of the lab. Subnets that the file does not give stay
// so in IPAM.
type Network struct {
	cnm.Network
	// Resolved are the pools with what Docker would have chosen filled in, on a
	// machine with no other networks. Only bridge and overlay networks have them.
	Resolved []cnm.Pool
	line     int
}

// A Node is one weft daemon, or one switch in a replay.
type Node struct {
	Name          string
	AdvertiseAddr netip.Addr // invalid: not given
	// DataPathAddrs are where its VTEP listens and sends from, at most one of each
	// family; without any it is AdvertiseAddr.
	DataPathAddrs []netip.Addr
	DataPathPort  uint16 // of its VTEP, VXLAN's own by default
	// UplinkAddrs are its addresses outside, each with the length of the network's prefix
	// that it is in; without any its networks have no way out. UplinkGateways are the
	// next hops to everything beyond, at most one of a family.
	UplinkAddrs    []netip.Prefix
	UplinkGateways []netip.Addr
	line           int
}

// vtep returns where the node's VTEP listens; empty for a node without an address.
func (n *Node) vtep() (at []netip.AddrPort) {
	addrs := n.DataPathAddrs
	if len(addrs) == 0 && n.AdvertiseAddr.IsValid() {
		addrs = []netip.Addr{n.AdvertiseAddr}
	}
	for _, a := range addrs {
		at = append(at, netip.AddrPortFrom(a, n.DataPathPort))
	}
	return at
}

// UplinkMAC returns the node's MAC outside, which follows from its first address there;
// zero for a node without a way out.
func (n *Node) UplinkMAC() frame.MAC {
	if len(n.UplinkAddrs) == 0 {
		return frame.MAC{}
	}
	return underlayMAC(n.UplinkAddrs[0].Addr())
}

// A Sandbox is a process in namespaces of its own.
type Sandbox struct {
	cnm.SandboxSpec
	Node    string // empty: the only one
	Service string // the service it serves; empty for none
	Publish []string
	line    int
}

// A Service is a name with a virtual address on each of its networks.
type Service struct {
	Name         string
	Networks     []string
	Publish      []string
	EndpointMode string // "vip" or "dnsrr"; empty: vip
	line         int
}

// A Port is a bare port of a switch, of a node's underlay or of its outside, fed from a
// capture.
type Port struct {
	Name    string
	Network string
	Node    string // empty: the only one
	// MAC and Addrs are the endpoint's own. Without both the port is unguarded
	// and learned; with addresses alone the MAC is Docker's for the first IPv4
	// address.
	MAC   frame.MAC
	Addrs []netip.Addr
	// MACLimit bounds the addresses learned on the port; 0 is the switch's
	// default.
	MACLimit int
	// VLANs are the only 802.1Q identifiers the port carries, 0 for untagged;
	// nil: all.
	VLANs []uint16
	// MTU is the largest IP packet that leaves through the port; 0 does not
	// check.
	MTU int
	// AllowRA and AllowDHCP lift the guard on router advertisements and DHCP
	// servers.
	AllowRA, AllowDHCP bool
	// Underlay makes it a wire: what the node's VTEP gets from the underlay is its
	// capture, and what the VTEP sends leaves by it. It has no network, and MTU is
	// the largest IP packet of the underlay; 0 is Ethernet's.
	Underlay bool
	// Outside makes it the way out and in of its node's networks. It has no network, and
	// MTU is the largest IP packet there; 0 is Ethernet's. With addresses somebody is
	// there who need not be asked where he is: a router, say.
	Outside bool
	// Publish are the ports that lead in from the outside, as a sandbox's.
	Publish []cnm.PortMapping
	line    int
}

// A Link impairs what a sandbox or port sends and gets.
type Link struct {
	Name          string // of the sandbox or port
	Delay, Jitter time.Duration
	Loss          float64 // 0 to 1
	Rate          uint64  // bits per second, 0: unlimited
	line          int
}

// maxFile bounds a lab file, in bytes.
const maxFile = 4 << 20

// An Error is one thing wrong with a lab file.
type Error struct {
	Path string
	Line int
	Msg  string
}

// Error returns path, line and message.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Msg) }

// Load reads a lab file. Its errors, when the file could be read, are *Error,
// joined, in the order of the file.
func Load(path string) (*Lab, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse reads a lab from data; path stands in errors.
func Parse(path string, data []byte) (*Lab, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than the %d bytes a lab file may have", path, maxFile)
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty, expected at least ports or sandboxes and their networks", path)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{path, max(more.Line, 1), "a second document; a lab is one"}
	}
	r := &reader{path: path}
	l := r.lab(doc.Content[0])
	if len(r.errs) == 0 {
		r.check(l)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return l, nil
}
