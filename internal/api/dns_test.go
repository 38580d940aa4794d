package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"weft/internal/cnm"
)

// TestDNS: the records as they go over the wire, and what is written down and asked by
// the client.
func TestDNS(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	golden(t, "dns", ask(s, "GET", "/weft/v1/dns?network=front", "").Body.Bytes())
	ctx, c := context.Background(), newTestClient(t, "unix://"+sock)
	records, err := c.DNSRecords(ctx, "")
	if err != nil || len(records) != 2 || records[0].Network != "" || !records[0].Answered || records[1].State != "draining" || records[1].Answered {
		t.Errorf("%+v, %v", records, err)
	}
	if _, err := c.DNSRecords(ctx, "nowhere"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("of no network: %v", err)
	}
	for _, ttl := range []struct {
		seconds *uint32
		want    time.Duration
	}{{nil, 0}, {new(uint32), -1}, {func() *uint32 { n := uint32(30); return &n }(), 30 * time.Second}} {
		warnings, err := c.DNSAdd(ctx, DNSStatic{Network: "front", Name: "db", Type: "A", Values: []string{"192.0.2.7"}, TTL: ttl.seconds})
		if err != nil || len(warnings) != 1 {
			t.Errorf("add: %q, %v", warnings, err)
		}
		if last := m.static[len(m.static)-1]; last.TTL != ttl.want || last.Network != "front" || len(last.Values) != 1 {
			t.Errorf("add: %+v, want a TTL of %v", last, ttl.want)
		}
	}
	tooLong := uint32(1 << 31)
	if _, err := c.DNSAdd(ctx, DNSStatic{Name: "db", Type: "A", Values: []string{"192.0.2.7"}, TTL: &tooLong}); !errors.Is(err, cnm.Invalid) {
		t.Errorf("a TTL of 2^31: %v", err)
	}
	if _, err := c.DNSAdd(ctx, DNSStatic{Name: "db", Type: "MX"}); !errors.Is(err, cnm.Invalid) {
		t.Errorf("an MX record: %v", err)
	}
	if err := c.DNSRemove(ctx, "front", "db", "A"); err != nil {
		t.Error(err)
	}
	if err := c.DNSRemove(ctx, "", "db", ""); !errors.Is(err, cnm.NotFound) {
		t.Errorf("remove what is not there: %v", err)
	}
	if a, err := c.DNSQuery(ctx, "rose", "lily", "A"); err != nil || !a.Local || a.Status != "NOERROR" || len(a.Records) != 1 || a.Records[0] != "lily. 5 IN A 10.0.0.2" {
		t.Errorf("query: %+v, %v", a, err)
	}
	if _, err := c.DNSQuery(ctx, "nobody", "lily", "A"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("nobody asks: %v", err)
	}
	if st, err := c.DNSStats(ctx); err != nil || st.Counts["queries-udp"] != 7 || len(st.Conflicts) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}
