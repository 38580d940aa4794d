package cli

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"weft/internal/api"
)

func TestFlowListing(t *testing.T) {
	at := netip.MustParseAddrPort
	rows := flowRecords([]api.Flow{
		{Network: "front", Sandbox: "rose", Proto: "tcp", State: "established", Endpoint: at("172.18.0.2:40000"), Remote: at("192.0.2.1:443"), TxBytes: 300, RxBytes: 9000,
			Age: 3 * time.Minute, Idle: 5 * time.Second},
		{Network: "front", Proto: "udp", State: "replied", Endpoint: at("[fd00::2]:53"), Remote: at("[2001:db8::9]:5353"), Published: at("[::]:8053"), Age: time.Millisecond},
		{Network: "front", Sandbox: "rose", Proto: "tcp", State: "established", Endpoint: at("172.18.0.2:40001"), Remote: at("192.0.2.1:443"), Idle: 2 * time.Second},
	})
	for _, c := range []struct {
		name, format string
		quiet        bool
		want         string
	}{
		{"table", "", false, "" +
			"PROTO     STATE         SANDBOX   ENDPOINT           REMOTE               PUBLISHED   SENT      RECEIVED   AGE                  IDLE\n" +
			"tcp       established   rose      172.18.0.2:40000   192.0.2.1:443        -           300B      9kB        3 minutes            5 seconds\n" +
			"udp       replied       -         [fd00::2]:53       [2001:db8::9]:5353   [::]:8053   0B        0B         Less than a second   Less than a second\n" +
			"tcp       established   rose      172.18.0.2:40001   192.0.2.1:443        -           -         -          -                    2 seconds\n"},
		{"quiet", "", true, "172.18.0.2:40000\n[fd00::2]:53\n172.18.0.2:40001\n"},
		{"template", "{{.Network}} {{.SentBytes}} {{.ReceivedBytes}}", false, "front 300 9000\nfront 0 0\nfront 0 0\n"},
	} {
		var b bytes.Buffer
		if err := flowListing().print(&b, c.format, c.quiet, rows); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, b.String(), c.want)
		}
	}
}

func TestUplinkListing(t *testing.T) {
	rows := uplinkRecords([]api.UplinkStats{
		{Network: "front10", TCP: 2, UDP: 1, TxBytes: 1000, RxBytes: 70, Counts: map[string]uint64{"connect-refused": 2, "table-full": 5, "no-socket": 0}},
		{Network: "front2"},
	})
	want := "" +
		"NETWORK   TCP       UDP       ICMP      SENT      RECEIVED   REFUSED   WHY\n" +
		"front2    0         0         0         0B        0B         0         \n" +
		"front10   2         1         0         1kB       70B        7         table-full=5 connect-refused=2\n"
	var b bytes.Buffer
	if err := uplinkListing().print(&b, "", false, rows); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b.String(), want)
	}
}
