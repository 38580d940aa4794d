package node

import (
	"testing"
	"time"
)

// The switch's clock begins with the machine's and goes on by what has passed.
func TestCoarse(t *testing.T) {
	now := time.Now()
	if d := coarse(now.Add(90*time.Second)) - coarse(now); d != 90 {
		t.Errorf("%d seconds in 90", d)
	}
	if got, want := coarse(now), uint32(now.Unix()); got-want+1 > 2 {
		t.Errorf("%d at %d", got, want)
	}
}
