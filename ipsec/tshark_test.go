package ipsec

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/nettest"
)

// TestTshark has Wireshark decrypt the captures down to the inner ICMP message. Its
// check of the ICV knows no ESN (4.0), and it has no ChaCha20-Poly1305 for ESP.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		nettest.Skip(t, "no tshark: %v", err)
	}
	for _, c := range oracleCases {
		if c.algorithm == ChaCha20Poly1305 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			packets, datagrams := c.packets(t)
			packets[len(packets)-1][len(packets[len(packets)-1])-1] ^= 1 // the last one's ICV is wrong
			path := filepath.Join(t.TempDir(), "x.pcap")
			writePcap(t, path, packets)
			m, family := c.material(), "IPv4"
			if c.v6 {
				family = "IPv6"
			}
			src, dst := c.addrs()
			sa := fmt.Sprintf(`uat:esp_sa:"%s","%v","%v","%#08x","AES-GCM with 16 octet ICV [RFC4106]","0x%x%x","NULL",""`, family, src, dst, m.spi, m.key, m.salt)
			cmd := exec.Command(tshark, "-r", path, "-n", "-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE", "-o", sa,
				"-T", "fields", "-E", "separator= ", "-e", "esp.sequence", "-e", "esp.icv_good", "-e", "udp.length", "-e", "vxlan.vni", "-e", "icmp.seq")
			cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir())
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var want strings.Builder
			for i, d := range datagrams {
				good, lengths := 1, fmt.Sprint(len(d))
				if c.esn || i == len(datagrams)-1 {
					good = 0
				}
				if c.encapsulation == InUDP {
					lengths = fmt.Sprintf("%d,%d", len(packets[i])-20, len(d))
				}
				fmt.Fprintf(&want, "%d %d %s 4097 %d\n", i+1, good, lengths, i)
			}
			if string(out) != want.String() {
				t.Fatalf("tshark sees\n%swant\n%s", out, want.String())
			}
		})
	}
}
