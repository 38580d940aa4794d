package cnm

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"weft/ipsec"
)

// The overlay driver's options. Docker's swarm allocates VNIs itself and has no
// option for peers; the list of VNIs is its own name for what it allocated.
const (
	OptVNI       = "weft.vni"
	OptVNIList   = "com.docker.network.driver.overlay.vxlanid_list" // Docker's name for weft.vni
	OptPeers     = "weft.peers"
	OptMulticast = "weft.multicast"
	OptMTU       = optMTU

	// An encrypted network: the cipher, whether sequence numbers have 64 bits, and
	// on static overlays the file of the secret that authenticates.
	OptEncrypted = "encrypted"
	OptCipher    = "weft.cipher"
	OptESN       = "weft.esn"
	OptPSKFile   = "weft.psk-file"

	optDSR = "dsr"
)

const (
	maxVNI   = 1<<24 - 1 // RFC 7348, 5: 24 bits. 0 is left out: Linux and Open vSwitch use it for "none"
	maxPeers = 1024      // of one overlay: every flooded frame is sent to each of them
	// DefaultOverlayMTU is what an underlay of DefaultMTU leaves over IPv4: 20
	// bytes for its header, 8 for UDP's, 8 for VXLAN's, 14 for the inner Ethernet.
	DefaultOverlayMTU = DefaultMTU - 50
)

// OverlayOptions are an overlay network's driver options, read and checked.
type OverlayOptions struct {
	VNIs      []uint32         // one for each IPv4 subnet, in order; nil when not given
	Peers     []netip.AddrPort // remote VTEPs as given; port 0 is this node's own data path port
	MTU       int              // of the endpoints' interfaces; 0: derived from the underlay's
	Multicast bool             // floods broadcast and multicast to the peers
	Encrypted bool
	Cipher    ipsec.Algorithm
	ESN       bool
	PSKFile   string // of a static overlay that is encrypted
}

// ParseOverlayOptions reads the options of an overlay network. What it does not
// know, and what it cannot do yet, is refused by name.
func ParseOverlayOptions(opts map[string]string) (OverlayOptions, error) {
	o := OverlayOptions{Multicast: true, Cipher: ipsec.AES256GCM, ESN: true}
	seen := make(map[string]string, len(opts))
	// In order, so that the same mistakes give the same error.
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		value, full := opts[key], fullOverlayOption(key)
		if other, twice := seen[full]; twice && other != value && full == OptMTU {
			return o, Errorf(Invalid, "driver option %s is given twice, as %q and %q", full, other, value)
		}
		seen[full] = value
		if err := o.set(key, full, value); err != nil {
			return o, err
		}
	}
	if !o.Encrypted {
		for _, key := range []string{OptCipher, OptESN, OptPSKFile} {
			if _, given := opts[key]; given {
				return o, Errorf(Invalid, "driver option %s is for encrypted networks: give -o %s as well, or leave it out", key, OptEncrypted)
			}
		}
	}
	return o, nil
}

// fullOverlayOption returns the name of an option that has two.
func fullOverlayOption(key string) string {
	switch key {
	case "mtu":
		return OptMTU
	case OptVNIList:
		return OptVNI
	}
	return key
}

// set reads one option; key is the name the user gave, for errors.
func (o *OverlayOptions) set(key, full, value string) (err error) {
	switch full {
	case OptVNI:
		had := o.VNIs
		if o.VNIs, err = vniOption(key, value); err == nil && had != nil && !slices.Equal(had, o.VNIs) {
			return Errorf(Invalid, "driver options %s and %s name different VNIs, %s and %s: give one of them", OptVNIList, OptVNI, FormatVNIs(had), FormatVNIs(o.VNIs))
		}
	case OptPeers:
		o.Peers, err = peersOption(key, value)
	case OptMTU:
		o.MTU, err = mtuOption(key, value, 0)
	case OptMulticast:
		switch value {
		case "on", "off":
			o.Multicast = value == "on"
		default:
			return badOption(key, value, "expected on or off")
		}
	case OptEncrypted:
		// Docker takes the option's presence for yes, whatever its value. Who says no
		// must not get what he did not ask for, nor believe to have it.
		if slices.Contains([]string{"0", "f", "false", "n", "no", "off"}, strings.ToLower(value)) {
			return badOption(key, value, "its presence alone encrypts a network: leave it out for one in clear")
		}
		o.Encrypted = true
	case OptCipher:
		if o.Cipher, err = ipsec.ParseAlgorithm(value); err != nil {
			return badOption(key, value, "expected aes-256-gcm, aes-128-gcm or chacha20-poly1305")
		}
	case OptESN:
		if value != "on" && value != "off" {
			return badOption(key, value, "expected on or off")
		}
		o.ESN = value == "on"
	case OptPSKFile:
		if !filepath.IsAbs(value) {
			return badOption(key, value, "expected the absolute path of a file on this node")
		}
		o.PSKFile = filepath.Clean(value)
	case optDSR:
		return Errorf(Unsupported, "driver option %q is not supported yet", key)
	default:
		return Errorf(Invalid, "unknown driver option %q for the overlay driver (known: %s)", key, strings.Join(OverlayOptionNames(), ", "))
	}
	return err
}

// OverlayOptionNames are the options an overlay takes, sorted.
func OverlayOptionNames() []string {
	return []string{OptMTU, OptVNIList, OptEncrypted, OptCipher, OptESN, OptMulticast, OptPeers, OptPSKFile, OptVNI}
}

// vniOption reads VNIs joined by commas.
func vniOption(key, value string) ([]uint32, error) {
	var out []uint32
	for s := range strings.SplitSeq(value, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
		if err != nil || n < 1 || n > maxVNI {
			return nil, badOption(key, value, "expected numbers from 1 to "+strconv.Itoa(maxVNI)+", one for each IPv4 subnet, with commas between")
		}
		if slices.Contains(out, uint32(n)) {
			return nil, badOption(key, value, "VNI "+strconv.FormatUint(n, 10)+" stands twice")
		}
		out = append(out, uint32(n))
	}
	return out, nil
}

// FormatVNIs joins VNIs by commas, as the options have them.
func FormatVNIs(vnis []uint32) string {
	s := make([]string, len(vnis))
	for i, v := range vnis {
		s[i] = strconv.FormatUint(uint64(v), 10)
	}
	return strings.Join(s, ",")
}

// peersOption reads VTEPs joined by commas.
func peersOption(key, value string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for s := range strings.SplitSeq(value, ",") {
		p, why := parsePeer(strings.TrimSpace(s))
		if why == "" && slices.Contains(out, p) {
			why = s + " stands twice"
		}
		if why != "" {
			return nil, badOption(key, value, why)
		}
		out = append(out, p)
	}
	if len(out) > maxPeers {
		return nil, Errorf(Invalid, "driver option %s names %d peers: at most %d", key, len(out), maxPeers)
	}
	return out, nil
}

// parsePeer reads one VTEP: an address alone, or with a port. why is what is
// wrong with it.
func parsePeer(s string) (p netip.AddrPort, why string) {
	a, err := netip.ParseAddr(s)
	if err == nil {
		p = netip.AddrPortFrom(a, 0)
	} else if p, err = netip.ParseAddrPort(s); err != nil {
		return p, "expected ADDRESS or ADDRESS:PORT, an IPv6 address before a port in brackets, with commas between; found " + strconv.Quote(s)
	} else if p.Port() == 0 {
		return p, s + " has port 0"
	}
	switch a = p.Addr(); {
	case a.Is4In6():
		return p, s + ": IPv4 addresses are written as such"
	case a.IsUnspecified():
		return p, s + " is no address of anybody"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return p, s + " is a group address; flooding goes to each peer by itself"
	case a.Is6() && (a.IsLinkLocalUnicast() || a.Zone() != ""):
		return p, s + ": link-local peers and zones are not supported, give a global address"
	}
	return p, ""
}

// Remotes returns the VTEPs to send to: the peers with the node's own data path
// port where they have none, without those that are the node itself (so that every
// node may be given the same list) and without repetition.
func (o *OverlayOptions) Remotes(port uint16, own []netip.Addr) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(o.Peers))
	for _, p := range o.Peers {
		if p.Port() == 0 {
			p = netip.AddrPortFrom(p.Addr(), port)
		}
		if p.Port() == port && slices.Contains(own, p.Addr()) || slices.Contains(out, p) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// Shown returns an overlay's options as inspect shows them: what was given, the
// VNIs under Docker's name, the cipher of an encrypted one, and the MTU that holds; 0
// is not known yet.
func (n *Network) Shown(mtu int) map[string]string {
	if n.Driver != DriverOverlay || n.ConfigOnly {
		return n.Options
	}
	m := cloneMap(n.Options)
	if o, err := ParseOverlayOptions(n.Options); err == nil {
		if len(o.VNIs) > 0 {
			m[OptVNIList] = FormatVNIs(o.VNIs)
		}
		if o.Encrypted {
			m[OptCipher] = o.Cipher.String()
		}
	}
	if mtu > 0 {
		delete(m, "mtu")
		m[OptMTU] = strconv.Itoa(mtu)
	}
	return m
}
