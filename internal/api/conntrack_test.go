package api

import (
	"context"
	"errors"
	"slices"
	"testing"

	"weft/internal/cnm"
)

// TestConntrack: the list and the counters as they go over the wire, and as the client
// reads them.
func TestConntrack(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	golden(t, "conntrack", ask(s, "GET", "/weft/v1/conntrack?network=front", "").Body.Bytes())
	golden(t, "conntrack-stats", ask(s, "GET", "/weft/v1/conntrack/stats", "").Body.Bytes())
	ctx, c := context.Background(), newTestClient(t, "unix://"+sock)
	flows, err := c.Flows(ctx, "")
	if err != nil || len(flows) != 3 || flows[0].Sandbox != "rose" || flows[0].Published.IsValid() || flows[1].Published.String() != "0.0.0.0:8053" || flows[2].Sandbox != "" {
		t.Errorf("%+v, %v", flows, err)
	}
	if _, err := c.Flows(ctx, "nowhere"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("of no network: %v", err)
	}
	if n, err := c.FlushFlows(ctx, "front", "rose"); n != 3 || err != nil || !slices.Equal(m.flushed, []string{"front/rose"}) {
		t.Errorf("flush: %d, %v, %q", n, err, m.flushed)
	}
	if _, err := c.FlushFlows(ctx, "", "nobody"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("flush of nobody's: %v", err)
	}
	if stats, err := c.UplinkStats(ctx); err != nil || len(stats) != 2 || stats[0].Counts["connect-refused"] != 2 {
		t.Errorf("%+v, %v", stats, err)
	}
}
