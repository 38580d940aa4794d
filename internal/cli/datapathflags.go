package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/node"
	"weft/ipsec"
)

// dataPathFlags are the daemon's settings for overlays: where they are carried.
type dataPathFlags struct {
	Addrs   []string `yaml:"data-path-addr"`
	Port    int      `yaml:"data-path-port"`
	ESPPort int      `yaml:"esp-port"`

	Encapsulation string        `yaml:"esp-encapsulation"`
	Keepalive     time.Duration `yaml:"esp-keepalive"`

	Advertise string `yaml:"advertise-addr"`
	NoGSO     bool   `yaml:"no-udp-gso"`
	NoGRO     bool   `yaml:"no-udp-gro"`
	AES       string `yaml:"aes"`

	addrs     []netip.Addr
	advertise netip.Addr
}

// The values of --esp-encapsulation.
const (
	espInUDP = "udp"
	espInIP  = "ip"
)

// The values of --aes.
const (
	aesWide     = "wide"
	aesStandard = "standard"
)

// The ports a data path may have, as in Docker: above are the source ports that
// datagrams leave from.
const (
	minDataPathPort = 1024
	maxDataPathPort = 49151
)

func (f *dataPathFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringSliceVar(&f.Addrs, "data-path-addr", nil, "Address or interface that overlays are carried over, one of each family; repeatable, or with commas")
	fl.IntVar(&f.Port, "data-path-port", node.DefaultDataPathPort, "UDP port of overlays, 1024 to 49151")
	fl.IntVar(&f.ESPPort, "esp-port", ipsec.Port, "UDP port of encrypted overlays, 1024 to 49151")
	fl.StringVar(&f.Encapsulation, "esp-encapsulation", espInUDP, "What carries encrypted overlays: udp, or ip (protocol 50, which needs CAP_NET_RAW) to nodes that have ip as well")
	fl.DurationVar(&f.Keepalive, "esp-keepalive", node.DefaultESPKeepalive, "Time between two keepalives to each node of an encrypted overlay, for NATs on the way; 0 sends none")
	fl.StringVar(&f.Advertise, "advertise-addr", "", "Address or interface that other nodes know this one by")
	fl.BoolVar(&f.NoGSO, "no-udp-gso", false, "Do not let the kernel cut datagrams that are sent")
	fl.BoolVar(&f.NoGRO, "no-udp-gro", false, "Do not let the kernel join datagrams that are received")
	fl.StringVar(&f.AES, "aes", aesWide, "Best AES-GCM for encrypted overlays: wide (where the processor can), or standard (always Go's own)")
}

// merge takes the file's values where the command line has none.
func (f *dataPathFlags) merge(given func(string) bool, file *dataPathFlags) {
	if !given("data-path-addr") {
		f.Addrs = file.Addrs
	}
	if !given("data-path-port") {
		f.Port = file.Port
	}
	if !given("esp-keepalive") {
		f.Keepalive = file.Keepalive
	}
	if !given("esp-encapsulation") {
		f.Encapsulation = file.Encapsulation
	}
	if !given("esp-port") {
		f.ESPPort = file.ESPPort
	}
	if !given("advertise-addr") {
		f.Advertise = file.Advertise
	}
	if !given("no-udp-gso") {
		f.NoGSO = file.NoGSO
	}
	if !given("no-udp-gro") {
		f.NoGRO = file.NoGRO
	}
	if !given("aes") {
		f.AES = file.AES
	}
}

// check reads the addresses; of finds those of an interface.
func (f *dataPathFlags) check(of func(string) ([]netip.Addr, error)) error {
	if f.Port != 0 && (f.Port < minDataPathPort || f.Port > maxDataPathPort) {
		return fmt.Errorf("data-path-port %d: expected %d to %d, or 0 for %d", f.Port, minDataPathPort, maxDataPathPort, node.DefaultDataPathPort)
	}
	switch {
	case f.ESPPort != 0 && (f.ESPPort < minDataPathPort || f.ESPPort > maxDataPathPort):
		return fmt.Errorf("esp-port %d: expected %d to %d, or 0 for %d", f.ESPPort, minDataPathPort, maxDataPathPort, ipsec.Port)
	case f.Encapsulation != "" && f.Encapsulation != espInUDP && f.Encapsulation != espInIP:
		return fmt.Errorf("esp-encapsulation %q: expected %s or %s", f.Encapsulation, espInUDP, espInIP)
	case f.AES != "" && f.AES != aesWide && f.AES != aesStandard:
		return fmt.Errorf("aes %q: expected %s or %s", f.AES, aesWide, aesStandard)
	case f.Keepalive < 0 || f.Keepalive > time.Hour || f.Keepalive > 0 && f.Keepalive < time.Second:
		return fmt.Errorf("esp-keepalive %v: expected 1s to 1h, or 0 for none", f.Keepalive)
	case f.ESPPort != 0 && f.ESPPort == f.Port:
		return fmt.Errorf("esp-port %d: overlays in clear have that port, expected another", f.ESPPort)
	}
	for _, list := range f.Addrs {
		for s := range strings.SplitSeq(list, ",") {
			found, err := parseUnderlay(strings.TrimSpace(s), of)
			if err != nil {
				return fmt.Errorf("data-path-addr %q: %w", s, err)
			}
			f.addrs = append(f.addrs, found...)
		}
	}
	for i, a := range f.addrs {
		for _, b := range f.addrs[:i] {
			if a.Is4() == b.Is4() {
				return fmt.Errorf("data-path-addr: %s and %s are of one family, expected at most one address of each", b, a)
			}
		}
	}
	if f.Advertise == "" {
		return nil
	}
	found, err := parseUnderlay(f.Advertise, of)
	if err != nil {
		return fmt.Errorf("advertise-addr %q: %w", f.Advertise, err)
	}
	f.advertise = found[0] // the IPv4 one, if there are two
	return nil
}

// parseUnderlay reads one address, or takes those of an interface: one of each
// family, IPv4 first.
func parseUnderlay(s string, of func(string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return interfaceUnderlay(s, of)
	}
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a.Is4In6():
		return nil, errors.New("expected an address that this machine has, or the name of an interface")
	case linkLocal6(a), a.Zone() != "":
		return nil, errors.New("link-local addresses and zones are not supported, expected a global address")
	}
	return []netip.Addr{a}, nil
}

func interfaceUnderlay(name string, of func(string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	addrs, err := of(name)
	if err != nil {
		return nil, err
	}
	addrs = slices.DeleteFunc(addrs, linkLocal6)
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	if len(addrs) == 0 {
		return nil, errors.New("the interface has no address that could be used")
	}
	for i := 1; i < len(addrs); i++ {
		if addrs[i].Is4() == addrs[i-1].Is4() {
			return nil, fmt.Errorf("the interface has several addresses of one family, %s and %s: name the one to use", addrs[i-1], addrs[i])
		}
	}
	return addrs, nil
}

func linkLocal6(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

// interfaceAddrs are the addresses of one of this machine's interfaces.
func interfaceAddrs(name string) ([]netip.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("it is no address, and there is no interface of that name (there are %s)", strings.Join(interfaceNames(), ", "))
	}
	list, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, x := range list {
		if p, err := netip.ParsePrefix(x.String()); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs, nil
}

func interfaceNames() []string {
	list, _ := net.Interfaces()
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.Name
	}
	return names
}
