package cnm

import (
	"bytes"
	"net/netip"
)

// HostsFile is what /etc/hosts of a sandbox is made from.
type HostsFile struct {
	Hostname, Domainname string
	Endpoints            []Endpoint // in interface order; the way out on weft_gwbridge is left out
	Extra                []string   // NAME:IP, as in SandboxSpec
	HostGateway          netip.Addr // what HostGateway stands for; invalid: such lines are left out
	NoIPv6               bool       // leave the IPv6 lines out
}

// Bytes returns the file's content.
func (h HostsFile) Bytes() []byte {
	var b bytes.Buffer
	line := func(addr, names string) {
		b.WriteString(addr)
		b.WriteByte('\t')
		b.WriteString(names)
		b.WriteByte('\n')
	}
	line("127.0.0.1", "localhost")
	if !h.NoIPv6 {
		line("::1", "localhost ip6-localhost ip6-loopback")
		line("fe00::", "ip6-localnet")
		line("ff00::", "ip6-mcastprefix")
		line("ff02::1", "ip6-allnodes")
		line("ff02::2", "ip6-allrouters")
	}
	for _, x := range h.Extra {
		name, a, err := ParseExtraHost(x)
		if err != nil {
			continue // checked when the sandbox was created
		}
		if !a.IsValid() {
			a = h.HostGateway
		}
		if a.IsValid() {
			line(a.String(), name)
		}
	}
	names := h.Hostname
	if h.Domainname != "" {
		names = h.Hostname + "." + h.Domainname + " " + h.Hostname
	}
	for _, e := range h.Endpoints {
		if h.Hostname == "" {
			break
		}
		if e.WayOut {
			continue
		}
		if e.IPv4.IsValid() {
			line(e.IPv4.Addr().String(), names)
		}
		if e.IPv6.IsValid() {
			line(e.IPv6.Addr().String(), names)
		}
	}
	return b.Bytes()
}
