package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/node"
)

// createNetwork parses a command line of weft network create.
func createNetwork(line string) (*networkFlags, error) {
	var f networkFlags
	c := &cobra.Command{Use: "create", SilenceErrors: true, SilenceUsage: true}
	f.bind(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		_, err := f.createOptions(c)
		return err
	}
	c.SetArgs(strings.Fields(line))
	return &f, c.Execute()
}

func TestNetworkPools(t *testing.T) {
	for _, line := range []string{
		"--subnet 10.0.0.0/24 --subnet fd00::/64 --gateway fd00::1 --gateway 10.0.0.254 --ip-range 10.0.0.128/25",
		"--subnet 10.0.0.0/24,fd00::/64 --gateway fd00::1,10.0.0.254 --ip-range 10.0.0.128/25,fd00::/80",
	} {
		testNetworkPools(t, line)
	}
}

func testNetworkPools(t *testing.T, line string) {
	f, err := createNetwork(line + " --aux-address a=10.0.0.5 --aux-address b=fd00::5 --ipv6 net")
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.pools()
	if err != nil || len(p) != 2 {
		t.Fatal(p, err)
	}
	if p[0].Gateway != addr("10.0.0.254") || p[0].IPRange.String() != "10.0.0.128/25" || p[0].AuxAddress["a"] != addr("10.0.0.5") {
		t.Errorf("first pool %+v", p[0])
	}
	if p[1].Gateway != addr("fd00::1") || p[1].IPRange.IsValid() != strings.Contains(line, "/80") || p[1].AuxAddress["b"] != addr("fd00::5") {
		t.Errorf("second pool %+v", p[1])
	}
}

func TestNetworkRefusals(t *testing.T) {
	for _, tt := range []struct{ name, line, err string }{
		{"gateway alone", "--gateway 10.0.0.1", "must have a corresponding subnet"},
		{"range alone", "--ip-range 10.0.0.0/25", "must have a corresponding subnet"},
		{"range outside", "--subnet 10.0.0.0/24 --ip-range 10.0.1.0/25", "no matching subnet for range"},
		{"range larger", "--subnet 10.0.0.0/24 --ip-range 10.0.0.0/23", "no matching subnet for range"},
		{"gateway outside", "--subnet 10.0.0.0/24 --gateway 10.0.1.1", "no matching subnet for gateway"},
		{"two gateways", "--subnet 10.0.0.0/24 --subnet 10.0.1.0/24 --gateway 10.0.0.1 --gateway 10.0.0.2", "multiple gateways"},
		{"two ranges", "--subnet 10.0.0.0/24 --subnet 10.0.1.0/24 --ip-range 10.0.0.0/25 --ip-range 10.0.0.128/25", "multiple ranges"},
		{"aux outside", "--subnet 10.0.0.0/24 --aux-address a=10.0.1.1", "no matching subnet for aux-address"},
		{"aux form", "--subnet 10.0.0.0/24 --aux-address a", "not KEY=VALUE"},
		{"aux list", "--subnet 10.0.0.0/24 --aux-address a=10.0.0.5,b=10.0.0.6", "not an IP address"}, // as in Docker, one each
		{"overlap", "--subnet 10.0.0.0/24 --subnet 10.0.0.128/25", "overlapping"},
		{"no subnet", "--subnet ten", "not a subnet"},
		{"no gateway", "--subnet 10.0.0.0/24 --gateway one", "not an IP address"},
	} {
		if _, err := createNetwork(tt.line); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, expected %q", tt.name, err, tt.err)
		}
	}
}

func TestEventFormats(t *testing.T) {
	e := events.Message{Type: "network", Action: "connect", TimeNano: 1, Actor: events.Actor{
		ID: "abc", Attributes: map[string]string{"type": "bridge", "name": "front", "container": "def"},
	}}
	for _, tt := range []struct{ format, want string }{
		{"", time.Unix(0, 1).Format(eventTime) + " network connect abc (container=def, name=front, type=bridge)\n"},
		{"{{.Type}} {{.Action}} {{.Actor.Attributes.name}}", "network connect front\n"},
	} {
		w, err := eventWriter(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := w(&b, e); err != nil || b.String() != tt.want {
			t.Errorf("%q: %q, %v, expected %q", tt.format, b.String(), err, tt.want)
		}
	}
}

func TestNoPort(t *testing.T) {
	ports := []api.PortStats{{Port: "rose:eth0", Sandbox: "rose", Network: "front"}}
	for name, want := range map[string]string{
		"front": "--filter network=front", "wide@192.0.2.2:4789": "weft peers ls", "iris": "is it running",
	} {
		if err := noPort(name, ports); !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", name, err, want)
		}
	}
}

func TestPointInTime(t *testing.T) {
	now := time.Unix(1795203951, 820082878)
	for _, tt := range []struct{ in, want string }{
		{"0s", "1795203951.820082878"}, {"1.5s", "1795203950.320082878"}, {"-1m", "1795204011.820082878"},
		{"", ""}, {"0", "0"}, {"1795203951", "1795203951"}, {"2026-01-02T13:23:37Z", "2026-01-02T13:23:37Z"},
	} {
		if got := pointInTime(tt.in, now); got != tt.want {
			t.Errorf("%q: %s, expected %s", tt.in, got, tt.want)
		}
	}
}

func TestRates(t *testing.T) {
	at := time.Unix(100, 0)
	from := sample{at: at, ports: []api.PortStats{{Port: "a:eth0", SandboxID: "1", RxBytes: 100, Drops: map[string]uint64{"runt": 1}}}}
	to := sample{at: at.Add(2 * time.Second), ports: []api.PortStats{
		{Port: "a:eth0", SandboxID: "1", RxBytes: 300, Drops: map[string]uint64{"runt": 3}, TxDrops: map[string]uint64{"runt": 2}},
		{Port: "b:eth0", SandboxID: "2", TxBytes: 4000}, // new: from zero
	}}
	r := rates(from, to)
	if r[0].p.Port != "b:eth0" || r[0].tx != 2000 || r[1].rx != 100 || r[1].drop != 2 {
		t.Errorf("got %+v", r)
	}
	var b bytes.Buffer
	if err := rateListing().print(&b, "json", false, rateRecords(from, to)); err != nil || !strings.Contains(b.String(), `"RxBytes":0,"RxFrames":0,"RxRate":"0 bit/s"`) ||
		!strings.Contains(b.String(), `"TxBytes":2000`) || !strings.Contains(b.String(), `"Drops":2`) {
		t.Errorf("as JSON: %v\n%s", err, b.String())
	}
	// A restarted daemon counts from zero again: no rate, not a huge one.
	again := sample{at: to.at.Add(time.Second), ports: from.ports}
	if r := rates(to, again); r[0].rx != 0 {
		t.Errorf("a counter that went back gives %v bytes per second", r[0].rx)
	}
}

// What was to go to a port is told from what came from it.
func TestDropsBothWays(t *testing.T) {
	p := api.PortStats{Port: "a:eth0", Drops: map[string]uint64{"runt": 3}, TxDrops: map[string]uint64{"runt": 1, "port-down": 5}}
	r := statsRecord(p)
	if r["Dropped"] != uint64(9) || r["Drops"] != "tx:port-down=5 runt=3 tx:runt=1" || len(p.Drops) != 1 {
		t.Errorf("%v %q, the port's own %v", r["Dropped"], r["Drops"], p.Drops)
	}
}

func TestDrops(t *testing.T) {
	n, why := drops(map[string]uint64{"runt": 2, "spoofed-ip": 7, "no-port": 0, "bad-header": 2})
	if n != 11 || why != "spoofed-ip=7 bad-header=2 runt=2" {
		t.Errorf("%d, %q", n, why)
	}
}

func TestFindInterface(t *testing.T) {
	stats := []api.PortStats{{Sandbox: "rose", IfName: "eth10"}, {Sandbox: "iris", IfName: "eth7"}, {Sandbox: "rose", IfName: "eth1"}}
	for _, tt := range []struct{ sandbox, ifName, err string }{
		{"rose", "eth1", ""}, {"iris", "eth7", ""},
		{"rose", "eth7", `sandbox rose has no interface "eth7", it has eth1, eth10`},
		{"lily", "eth0", `sandbox lily has no interface "eth0": it is in no network of the switch`},
	} {
		if err := findInterface(stats, tt.sandbox, tt.ifName); (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s:%s: %v, expected %q", tt.sandbox, tt.ifName, err, tt.err)
		}
	}
}

func TestDoctorLines(t *testing.T) {
	var b bytes.Buffer
	printChecks(&b, []api.Check{
		{Name: "tun", Status: node.OK, Found: "mode 0666"},
		{Name: "user namespaces", Status: node.Fail, Found: "none", Advice: "sysctl -w\nand again"},
	}, false)
	want := "ok    tun              mode 0666\n" +
		"fail  user namespaces  none\n" +
		"                       → sysctl -w\n" +
		"                         and again\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
