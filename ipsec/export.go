package ipsec

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
)

// An ExportedSA is what a third party needs to open what goes by one SA: whoever has
// it reads all of that.
type ExportedSA struct {
	From, To  netip.Addr
	SPI       uint32
	Algorithm Algorithm
	ESN       bool
	Key       []byte // with the salt of 4 bytes behind it
}

// Export returns the SAs of both directions that a peer's pairs have now. own is where
// this node sends from.
func (p *Peer) Export(own netip.Addr) (out []ExportedSA) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.pairs {
		at := l.pair.peer.VTEP.Addr()
		for _, o := range l.pair.out {
			out = append(out, ExportedSA{own, at, o.spi, o.algorithm, o.esn, slices.Concat(o.key, o.salt[:])})
		}
		for _, i := range l.pair.in {
			out = append(out, ExportedSA{at, own, i.spi, i.algorithm, i.esn, slices.Concat(i.key, i.salt[:])})
		}
	}
	return out
}

// wiresharkNames are Wireshark's names of the algorithms, as of 4.0.
var wiresharkNames = map[Algorithm]string{
	AES256GCM: "AES-GCM with 16 octet ICV [RFC4106]", AES128GCM: "AES-GCM with 16 octet ICV [RFC4106]",
	ChaCha20Poly1305: "ChaCha20 with Poly1305 [RFC7634]",
}

// Wireshark returns the line of Wireshark's table of ESP SAs (the file esp_sa in its
// profile, or -o uat:esp_sa:LINE).
func (e *ExportedSA) Wireshark() string {
	family := "IPv4"
	if e.From.Is6() {
		family = "IPv6"
	}
	return fmt.Sprintf("\"%s\",\"%s\",\"%s\",\"0x%08x\",\"%s\",\"0x%s\",\"NULL\",\"\"", family, e.From, e.To, e.SPI, wiresharkNames[e.Algorithm], hex.EncodeToString(e.Key))
}
