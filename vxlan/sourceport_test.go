package vxlan

import (
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// Flows spread over the dynamic ports, and stay on theirs.
func TestSourcePort(t *testing.T) {
	b := frame.NewBatch()
	low, high, seen := uint16(lastPoolPort), uint16(0), map[uint16]bool{}
	for i := range 20_000 {
		b.Reset()
		data := nettest.UDP(hostA, hostB, uint16(i), 53, nil)
		p := SourcePort(parsed(t, b, data))
		if again := SourcePort(parsed(t, b, data)); again != p {
			t.Fatalf("port %d, then %d for the same flow", p, again)
		}
		low, high, seen[p] = min(low, p), max(high, p), true
	}
	// 20,000 flows on 16,384 ports miss e^(-20000/16384) of them, 4,834.
	if low < firstPoolPort || low > firstPoolPort+10 || high < lastPoolPort-10 || len(seen) < 11_000 {
		t.Errorf("%d ports from %d to %d, expected about 11,550 from %d to %d", len(seen), low, high, firstPoolPort, lastPoolPort)
	}
}
