package cnm

import (
	"encoding/csv"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The protocols of ports. SCTP may be exposed, which is only a note, but weft does not
// carry it.
const (
	ProtoTCP  = "tcp"
	ProtoUDP  = "udp"
	ProtoSCTP = "sctp"
)

var errSCTP = fmt.Errorf("sctp is not carried: publish ports of tcp or udp")

// ParsePublish reads the value of `run --publish`: [[IP:][HOST]:]PORT[/PROTO], where
// HOST and PORT may be ranges and an IPv6 address is in brackets or not, or Docker's
// long form published=HOST,target=PORT,protocol=PROTO, to which weft adds ip=IP.
// Ranges of equal length are paired; of a range for one port, the first port that is
// free is taken when the sandbox starts. Rules and texts are those of Docker's command
// line.
func ParsePublish(spec string) ([]PortMapping, error) {
	p, err := splitPublish(spec)
	if err != nil {
		return nil, Errorf(Invalid, "%w", err)
	}
	m, err := p.mappings()
	switch {
	case err == errSCTP:
		return nil, Errorf(Unsupported, "%w", err)
	case err != nil:
		return nil, Errorf(Invalid, "%w", err)
	}
	return m, nil
}

// A publish is the value of --publish, taken apart and not yet understood.
type publish struct{ ip, host, port, proto string }

func splitPublish(spec string) (publish, error) {
	if strings.Contains(spec, "=") {
		return splitLongPublish(spec)
	}
	var p publish
	rest := spec
	if strings.HasPrefix(spec, "[") {
		ip, after, ok := strings.Cut(spec[1:], "]:")
		if !ok || ip == "" || strings.Count(after, ":") != 1 {
			return p, fmt.Errorf("invalid IP address in %s: expected [IP]:[HOST_PORT]:PORT", spec)
		}
		p.ip, rest = ip, after
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		rest, p.port = rest[:i], rest[i+1:]
		if i = strings.LastIndexByte(rest, ':'); i >= 0 {
			p.ip, rest = rest[:i], rest[i+1:]
		}
		p.host = rest
	} else {
		p.port = rest
	}
	p.port, p.proto, _ = strings.Cut(p.port, "/")
	if p.port == "" {
		return p, fmt.Errorf("no port specified: %s<empty>", spec)
	}
	return p, nil
}

// splitLongPublish reads KEY=VALUE fields. Docker lets every key pass and drops ip and
// mode; here a key that means nothing is an error. A mode means nothing to a sandbox, which
// is published on its own node either way.
func splitLongPublish(spec string) (p publish, err error) {
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return p, fmt.Errorf("invalid publish opts format %q: %w", spec, err)
	}
	for _, field := range fields {
		k, v, ok := strings.Cut(field, "=")
		if !ok {
			return p, fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", field)
		}
		switch strings.ToLower(strings.TrimSpace(k)) {
		case "published":
			p.host = v
		case "target":
			p.port = v
		case "protocol":
			p.proto = v
		case "ip", "host_ip":
			p.ip = strings.TrimSuffix(strings.TrimPrefix(v, "["), "]")
		case "mode":
			if v != "host" && v != "ingress" {
				return p, fmt.Errorf("invalid publish mode %s: expected host or ingress", v)
			}
		default:
			return p, fmt.Errorf("invalid publish field %s: expected published, target, protocol, ip or mode", k)
		}
	}
	if p.port == "" {
		return p, fmt.Errorf("no port specified: target= is missing in %s", spec)
	}
	return p, nil
}

func (p publish) mappings() ([]PortMapping, error) {
	proto, err := publishedProto(p.proto)
	if err != nil {
		return nil, err
	}
	var ip netip.Addr
	if p.ip != "" {
		if ip, err = netip.ParseAddr(p.ip); err != nil || ip.Zone() != "" {
			return nil, fmt.Errorf("invalid IP address: %s", p.ip)
		}
	}
	first, last, err := ParsePortRange(p.port)
	if err != nil || first == 0 {
		return nil, fmt.Errorf("invalid containerPort: %s", p.port)
	}
	var host, hostEnd uint16
	if p.host != "" {
		if host, hostEnd, err = ParsePortRange(p.host); err != nil || host == 0 && hostEnd != 0 {
			return nil, fmt.Errorf("invalid hostPort: %s", p.host)
		}
	}
	if first == last {
		return []PortMapping{MapPort(proto, first, ip, host, hostEnd)}, nil
	}
	if host != 0 && hostEnd-host != last-first || host == 0 && p.host != "" {
		return nil, fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", p.port, p.host)
	}
	all := make([]PortMapping, 0, int(last-first)+1)
	for i := range last - first + 1 {
		m := MapPort(proto, first+i, ip, 0, 0)
		if host != 0 {
			m.HostPort = host + i
		}
		all = append(all, m)
	}
	return all, nil
}

// MapPort is one port of a sandbox and the ports of the host, from first to last, of
// which one is to be it; 0 and 0 leave the choice to the node.
func MapPort(proto string, port uint16, ip netip.Addr, first, last uint16) PortMapping {
	m := PortMapping{Proto: proto, Port: port, HostIP: ip.Unmap(), HostPort: first}
	if last > first {
		m.HostPortEnd = last
	}
	return m
}

// publishedProto reads a protocol that can be published; tcp when it is empty.
func publishedProto(s string) (string, error) {
	proto, err := parseProto(s)
	if proto == ProtoSCTP {
		err = errSCTP
	}
	return proto, err
}

func parseProto(s string) (string, error) {
	switch p := strings.ToLower(s); p {
	case "":
		return ProtoTCP, nil
	case ProtoTCP, ProtoUDP, ProtoSCTP:
		return p, nil
	}
	return "", fmt.Errorf("invalid proto: %s", s)
}

// ParsePortRange reads PORT or FIRST-LAST, both from 0 to 65535.
func ParsePortRange(s string) (first, last uint16, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if first, err = parsePort(a); err != nil {
		return 0, 0, fmt.Errorf("invalid start port '%s': %w", a, err)
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = parsePort(b); err != nil {
		return 0, 0, fmt.Errorf("invalid end port '%s': %w", b, err)
	}
	if last < first {
		return 0, 0, fmt.Errorf("invalid port range: %s", s)
	}
	return first, last, nil
}

func parsePort(s string) (uint16, error) {
	if s == "" {
		return 0, fmt.Errorf("value is empty")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case err != nil && strings.Trim(s, "0123456789") != "":
		return 0, strconv.ErrSyntax
	case err != nil || n > 65535:
		return 0, fmt.Errorf("value out of range (0–65535)")
	}
	return uint16(n), nil
}

// ParseExpose reads the value of `run --expose`, PORT[-LAST][/PROTO], and returns each
// port as 80/tcp.
func ParseExpose(spec string) ([]string, error) {
	if strings.Contains(spec, ":") {
		return nil, Errorf(Invalid, "invalid port format for --expose: %s", spec)
	}
	ports, protocol, _ := strings.Cut(spec, "/")
	proto, err := parseProto(protocol)
	if err != nil {
		return nil, Errorf(Invalid, "invalid port format for --expose: %s, error: %w", spec, err)
	}
	first, last, err := ParsePortRange(ports)
	if err == nil && first == 0 {
		err = fmt.Errorf("expected ports from 1 to 65535")
	}
	if err != nil {
		return nil, Errorf(Invalid, "invalid range format for --expose: %s, error: %w", spec, err)
	}
	all := make([]string, 0, int(last-first)+1)
	for p := int(first); p <= int(last); p++ {
		all = append(all, fmt.Sprintf("%d/%s", p, proto))
	}
	return all, nil
}
