package vxlan

import (
	"testing"

	"weft/ipsec"
)

// A superframe is cut into as many segments as one message takes, whatever of
// the usual headers its segments have.
func TestMaxSuperframe(t *testing.T) {
	for _, c := range []struct {
		name      string
		mtu, want int             // segments
		sealed    ipsec.Algorithm // 0: in clear
	}{
		{"Ethernet", 1450, 44, 0}, {"jumbo", 8950, 7, 0}, {"small", 1280, 49, 0}, {"least", 576, 63, 0}, {"loopback", 65485, 0, 0}, {"half", 32000, 2, 0},
		{"headers alone", 52, 0, 0}, {"none", 0, 0, 0}, {"less than none", -HeaderLen - 14, 0, 0},
		{"sealed", 1408, 44, ipsec.AES256GCM}, {"sealed over IPv6", 1388, 44, ipsec.ChaCha20Poly1305}, {"sealed, loopback", 65440, 0, ipsec.AES256GCM},
		{"sealed, headers alone", 52, 0, ipsec.AES256GCM}, {"sealed, less than none", -100, 0, ipsec.AES256GCM},
	} {
		size, datagram := MaxSuperframe(c.mtu), c.mtu+14+HeaderLen
		if c.sealed != 0 {
			size, datagram = MaxSealedSuperframe(c.mtu, c.sealed), c.sealed.PacketLen(c.mtu+14+sealedHeaders)
		}
		if c.want == 0 {
			if size != 0 {
				t.Errorf("%s: limit of %d", c.name, size)
			}
			continue
		}
		// Linux: sk_gso_max_size less MAX_TCP_HEADER+1, divided by the segment size.
		for _, headers := range []int{52, 72} { // IPv4 and IPv6, with timestamps
			if headers == 72 && c.mtu < 1280 {
				continue // IPv6 needs 1,280
			}
			if got := (size - 321) / (c.mtu - headers); got != c.want {
				t.Errorf("%s: %d segments behind %d bytes of headers, want %d", c.name, got, headers, c.want)
			}
		}
		if bytes := c.want * datagram; bytes > maxRunBytes || c.want > maxRun {
			t.Errorf("%s: %d segments are %d bytes", c.name, c.want, bytes)
		}
	}
}
