package node

import (
	"fmt"
	"strings"

	"weft/internal/cnm"
)

// An Uplink says how what is sent beyond all networks leaves the machine. The zero
// value is the host's sockets.
type Uplink struct {
	Kind      UplinkKind
	Interface string // of UplinkPacket
}

// UplinkKind is a kind of uplink.
type UplinkKind uint8

// The kinds.
const (
	UplinkHost   UplinkKind = iota // by sockets of the daemon's own
	UplinkNone                     // not at all
	UplinkPacket                   // by an interface of the machine, frame for frame
)

// String writes it as ParseUplink reads it.
func (u Uplink) String() string {
	switch u.Kind {
	case UplinkNone:
		return "none"
	case UplinkPacket:
		return "packet:" + u.Interface
	}
	return "host"
}

// ParseUplink reads host, none or packet:INTERFACE.
func ParseUplink(s string) (Uplink, error) {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case s == "host":
		return Uplink{}, nil
	case s == "none":
		return Uplink{Kind: UplinkNone}, nil
	case kind == "packet" && named && cnm.ValidInterface(name):
		return Uplink{Kind: UplinkPacket, Interface: name}, nil
	}
	return Uplink{}, fmt.Errorf("uplink %q: expected host, none, or packet: and the name of an interface", s)
}

// checkUplink refuses what there is no way out by.
func (c *Config) checkUplink() error {
	switch {
	case c.HostLoopback && c.Uplink.Kind != UplinkHost:
		return fmt.Errorf("node: host-loopback: uplink %s cannot reach this machine's loopback, expected uplink host", c.Uplink)
	case c.Uplink.Kind == UplinkPacket:
		return cnm.Errorf(cnm.Unsupported, "uplink %s is not built yet: expected host or none", c.Uplink)
	}
	return nil
}
