package vxlan

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/internal/frame"
	"weft/ipsec"
)

// ether is the shortest Ethernet frame.
const ether = "ffffffffffff02420a00000288b5"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name, in string
		vni      uint32
		want     frame.Reason
	}{
		{"plain", "08000000 00100100" + ether, 4097, frame.NotDropped},
		{"VNI 0", "08000000 00000000" + ether, 0, frame.NotDropped},
		{"largest VNI", "08000000 ffffff00" + ether, MaxVNI, frame.NotDropped},
		{"reserved bits are ignored", "08abcdef 001001ff" + ether, 4097, frame.NotDropped},
		{"reserved flags are ignored", "ff000000 00100100" + ether, 4097, frame.NotDropped},
		{"no I flag", "00000000 00100100" + ether, 0, frame.BadVXLAN},
		{"all flags but I", "f7000000 00100100" + ether, 0, frame.BadVXLAN},
		{"empty", "", 0, frame.Runt},
		{"header cut", "08000000 001001", 0, frame.Runt},
		{"nothing behind the header", "08000000 00100100", 0, frame.Runt},
		{"Ethernet header cut", "08000000 00100100" + ether[:26], 0, frame.Runt},
		{"short and no I flag", "00000000", 0, frame.Runt},
	} {
		t.Run(c.name, func(t *testing.T) {
			vni, r := ParseHeader(unhex(t, c.in))
			if r != c.want || r == frame.NotDropped && vni != c.vni {
				t.Errorf("ParseHeader = %d, %v, want %d, %v", vni, r, c.vni, c.want)
			}
		})
	}
}

// What is written is what another implementation reads.
func TestPutHeader(t *testing.T) {
	for _, vni := range []uint32{0, 1, 4097, 0x123456, MaxVNI} {
		b := append(bytes.Repeat([]byte{0xff}, HeaderLen), unhex(t, ether)...)
		PutHeader(b, vni)
		p := gopacket.NewPacket(b, layers.LayerTypeVXLAN, gopacket.Default)
		v, ok := p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
		if !ok || p.Layer(layers.LayerTypeEthernet) == nil {
			t.Fatalf("VNI %d: gopacket reads %v of %x", vni, p, b)
		}
		if !v.ValidIDFlag || v.VNI != vni || v.GBPExtension || v.GBPDontLearn || v.GBPApplied || v.GBPGroupPolicyID != 0 {
			t.Errorf("VNI %d: gopacket reads %+v", vni, v)
		}
		if b[0] != 8 || b[1]|b[2]|b[3]|b[7] != 0 {
			t.Errorf("VNI %d: reserved bits are set in %x", vni, b[:HeaderLen])
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(unhex(f, "08000000 00100100"+ether))
	f.Add(unhex(f, "ff000000 001001ff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		vni, r := ParseHeader(b)
		switch {
		case vni > MaxVNI:
			t.Fatalf("VNI %d of %x", vni, b)
		case r == frame.Runt:
			if len(b) >= HeaderLen+frame.EtherLen {
				t.Fatalf("%x is long enough", b)
			}
			return
		case r == frame.BadVXLAN:
			if b[0]&8 != 0 {
				t.Fatalf("%x has the I flag", b)
			}
			return
		case b[0]&8 == 0:
			t.Fatalf("%x has no I flag", b)
		}
		out := make([]byte, len(b))
		copy(out, b)
		PutHeader(out, vni)
		if again, r := ParseHeader(out); again != vni || r != frame.NotDropped {
			t.Fatalf("VNI %d reads back as %d, %v", vni, again, r)
		}
		if !bytes.Equal(out[4:7], b[4:7]) {
			t.Fatalf("VNI %d is written as %x, read from %x", vni, out[4:7], b[4:7])
		}
	})
}

func TestInnerMTU(t *testing.T) {
	for _, c := range []struct {
		name     string
		underlay int
		v6       bool
		want     int
	}{
		{"ethernet", 1500, false, 1450},
		{"ethernet, IPv6", 1500, true, 1430},
		{"jumbo", 9000, false, 8950},
		{"loopback", 65536, false, 65485},
		{"loopback, IPv6", 65536, true, 65465},
	} {
		if got := InnerMTU(c.underlay, c.v6); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name     string
		underlay int
		v6       bool
		in       ipsec.Encapsulation
		want     int
	}{
		{"in UDP", 1500, false, ipsec.InUDP, 1408},
		{"in IP", 1500, false, ipsec.InIP, 1416},
		{"in UDP, IPv6", 1500, true, ipsec.InUDP, 1388},
		{"in IP, IPv6", 1500, true, ipsec.InIP, 1396},
		{"in IP, loopback", 65536, false, ipsec.InIP, 65448},
	} {
		if got := SealedMTU(c.underlay, c.v6, ipsec.AES256GCM, c.in); got != c.want {
			t.Errorf("sealed %s: %d, want %d", c.name, got, c.want)
		}
	}
	// The datagram of the largest inner packet on loopback is UDP's largest.
	if n := InnerMTU(65536, false) + frame.EtherLen + HeaderLen; n != 65507 {
		t.Errorf("largest datagram %d", n)
	}
}

func TestGSOFault(t *testing.T) {
	for release, want := range map[string]bool{
		"6.18.44-generic": false, "6.8.0": false, "7.0.0-14-generic": true, "7.1.4": true, "7.1.5": false, "7.2.0": false, "": false, "odd": false,
	} {
		if got := gsoFault(release) != ""; got != want {
			t.Errorf("%q: fault %v, want %v", release, got, want)
		}
	}
}

func TestRungNames(t *testing.T) {
	if SendGSO.String() != "gso" || SendSingle.String() != "sendto" || ReceiveGRO.String() != "gro" || ReceiveSingle.String() != "recvfrom" {
		t.Error("rungs are called otherwise than documented")
	}
}
