package cnm

import (
	"fmt"
	"net/netip"
)

// A PortMapping is a port of a sandbox that is to be published, as the user asked for
// it.
type PortMapping struct {
	// Proto is "tcp" or "udp".
	Proto string
	// Port is the sandbox's.
	Port uint16
	// HostIP is where the host listens; invalid: where the network, or the daemon, says.
	HostIP netip.Addr
	// HostPort is the host's port, 0 for one that the node chooses. HostPortEnd, when
	// it is not 0, is the last of a range from HostPort on, of which the first that is
	// free is taken.
	HostPort, HostPortEnd uint16
}

// String is what `docker run -p` would be given.
func (m PortMapping) String() string {
	host := ""
	if m.HostPort != 0 {
		host = fmt.Sprint(m.HostPort)
		if m.HostPortEnd > m.HostPort {
			host += fmt.Sprintf("-%d", m.HostPortEnd)
		}
	}
	switch {
	case m.HostIP.Is6():
		host = "[" + m.HostIP.String() + "]:" + host + ":"
	case m.HostIP.IsValid():
		host = m.HostIP.String() + ":" + host + ":"
	case host != "":
		host += ":"
	}
	return fmt.Sprintf("%s%d/%s", host, m.Port, m.Proto)
}

// A PublishedPort is a port of a running sandbox that the host listens for.
type PublishedPort struct {
	Proto string
	Port  uint16         // the sandbox's
	Host  netip.AddrPort // the host's; the address is unspecified for all of its family
}
