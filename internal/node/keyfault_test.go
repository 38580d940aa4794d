package node

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/keyring"
	"weft/ipsec"
)

// TestGenerationDamaged: a generation that cannot be read is refused, in words that stay
// the same: what is wrong with keys is logged once.
func TestGenerationDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, generationFile), []byte("12x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	_, err := nextGeneration(dir, now)
	_, again := nextGeneration(dir, now.Add(time.Second))
	if err == nil || again == nil || err.Error() != again.Error() || !strings.Contains(err.Error(), "date +%s%N") {
		t.Errorf("%v, then %v", err, again)
	}
}

// TestOlderGeneration: a peer that announces an older generation than it had is at fault
// until it announces what is newer.
func TestOlderGeneration(t *testing.T) {
	psk, err := ipsec.NewPSK([]byte("correct horse battery staple"))
	if err != nil {
		t.Fatal(err)
	}
	own, peer := netip.MustParseAddrPort("192.0.2.1:4500"), netip.MustParseAddrPort("192.0.2.2:4500")
	now := time.Unix(1_700_000_000, 0)
	n := ringNode(t.TempDir())
	n.keyFaults, n.log = make(map[string]string), slog.New(slog.DiscardHandler)
	n.rings[ringKey{algorithm: ipsec.AES256GCM, esn: true, secret: "x"}] = &ring{
		psk: psk, toTell: map[netip.AddrPort]*telling{peer: {}}, Ring: keyring.New(keyring.Config{
			Sign: psk.Sign, Own: ipsec.Announcement{Node: own.String(), VTEP: own, Generation: 1, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 1},
		}),
	}
	for _, c := range []struct {
		generation uint64
		fault      string
	}{{5, ""}, {4, errOlder.Error()}, {4, errOlder.Error()}, {6, ""}, {5, errOlder.Error()}} {
		k, err := ipsec.NewEpochKey(ipsec.Announcement{Node: peer.String(), VTEP: peer, Generation: c.generation, Epoch: 7, Algorithm: ipsec.AES256GCM, ESN: true, Workers: 2}, ipsec.AES{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := ipsec.Encode(k.Announcement(), psk.Sign)
		if err != nil {
			t.Fatal(err)
		}
		n.hearLocked(marked{peer, b}, now)
		if got := n.keyFaults[peer.String()]; got != c.fault {
			t.Errorf("generation %d: %q, expected %q", c.generation, got, c.fault)
		}
	}
}

// TestKeyFaultsSwept: what was wrong with a network that has gone is wrong no more.
func TestKeyFaultsSwept(t *testing.T) {
	n := ringNode(t.TempDir())
	wide := &network{}
	wide.Name, wide.Driver, wide.Scope = "wide", cnm.DriverOverlay, cnm.ScopeLocal
	wide.overlay.Encrypted = true
	n.networks = map[string]*network{"1": wide}
	n.keyFaults = map[string]string{"wide": "its secret", "gone": "its secret", "192.0.2.2:4500": "older", "peer 192.0.2.2": "strange"}
	n.sweepKeyFaultsLocked()
	if len(n.keyFaults) != 1 || n.keyFaults["wide"] == "" {
		t.Errorf("left: %v", n.keyFaults)
	}
	wide.overlay.Encrypted = false
	if n.sweepKeyFaultsLocked(); len(n.keyFaults) != 0 {
		t.Errorf("of a network in clear: %v", n.keyFaults)
	}
}
