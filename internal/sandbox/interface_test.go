//go:build linux

package sandbox

import (
	"bufio"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"weft/internal/frame"
	"weft/tap"
)

var testMAC = frame.MAC{0x02, 0x42, 10, 1, 0, 2}

func fullInterface() Interface {
	return Interface{
		MAC: testMAC, MTU: 1400,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("169.254.7.7/16"), netip.MustParsePrefix("fd00:1::2/64")},
		Routes: []Route{
			{Dst: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("10.1.0.9")},
			{Dst: netip.MustParsePrefix("10.8.0.0/16")},
		},
		Gateway4: netip.MustParseAddr("10.1.0.1"), Gateway6: netip.MustParseAddr("fd00:1::1"),
	}
}

func testInterfaces(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	d, err := a.AddInterface(ctx, fullInterface())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Name() != "eth0" {
		t.Errorf("name %q, the first free one was expected", d.Name())
	}
	state := inside(t, a, "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu /sys/class/net/eth0/operstate; ip -4 -o addr show dev eth0; ip -6 -o addr show dev eth0; ip route; ip -6 route")
	for _, want := range []string{testMAC.String() + "\n1400\n", "inet 10.1.0.2/24 brd 10.1.0.255 scope global", "inet 169.254.7.7/16", "inet6 fd00:1::2/64 scope global",
		"inet6 fe80::42:aff:fe01:2/64 scope link", "default via 10.1.0.1 dev eth0", "10.9.0.0/16 via 10.1.0.9 dev eth0", "10.8.0.0/16 dev eth0 scope link", "default via fd00:1::1 dev eth0"} {
		if !strings.Contains(state, want) {
			t.Errorf("%q is missing in\n%s", want, state)
		}
	}
	if strings.Contains(state, "tentative") {
		t.Errorf("an address is not usable yet:\n%s", state)
	}
	// What the sandbox sends comes out here.
	inside(t, a, "ping -c 1 -W 0.1 10.1.0.77 >/dev/null || true")
	if !sawFrom(t, d, testMAC) {
		t.Error("no frame came from the endpoint's MAC")
	}
	// A second one, without IPv6.
	d1, err := a.AddInterface(ctx, Interface{Name: "eth1", MTU: 1500, Queues: 2, Addrs: []netip.Prefix{netip.MustParsePrefix("10.2.0.2/24")}})
	if err != nil {
		t.Fatal(err)
	}
	defer d1.Close()
	if len(d1.Queues()) != 2 {
		t.Errorf("%d queues", len(d1.Queues()))
	}
	if out := inside(t, a, "ip -6 addr show dev eth1"); out != "" {
		t.Errorf("IPv6 on an interface without IPv6: %s", out)
	}
	all, err := a.Interfaces(ctx, tap.USO)
	if err != nil || len(all) != 2 || all[0].Name != "eth0" || all[1].Name != "eth1" || len(all[1].Device.Queues()) != 2 {
		t.Fatalf("%+v %v", all, err)
	}
	for _, i := range all {
		i.Device.Close()
	}
	if err := a.RemoveInterface(ctx, "eth0"); err != nil {
		t.Fatal(err)
	}
	if out := inside(t, a, "ls /sys/class/net"); out != "eth1\nlo\n" {
		t.Errorf("after removal: %q", out)
	}
	if err := readUntilGone(d); !errors.Is(err, tap.ErrGone) {
		t.Errorf("read after removal: %v", err)
	}
	if err := a.RemoveInterface(ctx, "eth0"); !errors.Is(err, ErrNoInterface) {
		t.Errorf("second removal: %v", err)
	}
	inside(t, a, "ip link del eth1") // a process inside may
	again, err := a.AddInterface(ctx, Interface{Name: "eth1", MTU: 1500, Sysctls: map[string]string{"net/ipv4/conf/eth1/log_martians": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if out := inside(t, a, "cat /proc/sys/net/ipv4/conf/eth1/log_martians /proc/sys/net/ipv4/conf/default/log_martians"); out != "1\n0\n" {
		t.Errorf("settings: %q", out)
	}
	if err := a.RemoveInterface(ctx, "eth1"); err != nil {
		t.Fatal(err)
	}
	if out := inside(t, a, "ls /sys/class/net"); out != "lo\n" {
		t.Errorf("after removal of the second eth1: %q", out)
	}
	if all, err := a.Interfaces(ctx, tap.USO); err != nil || len(all) != 0 {
		t.Errorf("after deletion inside: %+v %v", all, err)
	}
}

func readUntilGone(d *tap.Device) error {
	b := frame.NewBatch()
	for range 100 {
		b.Reset()
		if _, err := d.Queues()[0].ReadBatch(b); err != nil {
			return err
		}
	}
	return nil
}

func sawFrom(t *testing.T, d *tap.Device, mac frame.MAC) bool {
	t.Helper()
	b := frame.NewBatch()
	n, err := d.Queues()[0].ReadBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if [6]byte(b.At(i).Bytes()[6:12]) == mac {
			return true
		}
	}
	return false
}

func testInterfaceAtomic(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	good := fullInterface()
	for _, tt := range []struct {
		name   string
		change func(*Interface)
		text   string
	}{
		{"MTU", func(i *Interface) { i.MTU = 1 }, "set MTU 1"},
		{"group MAC", func(i *Interface) { i.MAC[0] |= 1 }, "is a group address"},
		{"multicast address", func(i *Interface) { i.Addrs = append(i.Addrs, netip.MustParsePrefix("224.0.0.1/32")) }, "address 224.0.0.1/32"},
		{"last step", func(i *Interface) { i.Gateway6 = netip.MustParseAddr("10.1.0.1") }, "other family"},
		{"setting of another interface", func(i *Interface) { i.Sysctls = map[string]string{"net/ipv4/conf/all/forwarding": "1"} }, "/eth0/KEY was expected"},
		{"setting elsewhere", func(i *Interface) { i.Sysctls = map[string]string{"net/ipv4/conf/eth0/../../ip_forward": "1"} }, "/eth0/KEY was expected"},
		{"setting of no interface", func(i *Interface) { i.Sysctls = map[string]string{"net/ipv4/route/eth0/flush": "1"} }, "/eth0/KEY was expected"},
		{"name", func(i *Interface) { i.Name = "lo" }, "exists"},
		{"long name", func(i *Interface) { i.Name = "a-name-of-sixteen" }, "longer than 15"},
	} {
		i := good
		tt.change(&i)
		d, err := a.AddInterface(ctx, i)
		if err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, %q was expected", tt.name, err, tt.text)
		}
		if d != nil {
			d.Close()
		}
		if out := inside(t, a, "ls /sys/class/net"); out != "lo\n" {
			t.Errorf("%s: left behind: %q", tt.name, out)
		}
	}
}

func testDefaultRoute(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	for _, prefix := range []string{"10.1.0.2/24", "10.2.0.2/24"} {
		d, err := a.AddInterface(ctx, Interface{MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix(prefix), netip.MustParsePrefix("fd00::2/64")}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
	}
	for _, tt := range []struct{ name, ifname, gw4, gw6, want4, want6 string }{
		{"first", "eth0", "10.1.0.1", "fd00::1", "default via 10.1.0.1 dev eth0", "default via fd00::1 dev eth0"},
		{"moves", "eth1", "10.2.0.1", "fd00::1", "default via 10.2.0.1 dev eth1", "default via fd00::1 dev eth1"},
		{"one family", "eth0", "10.1.0.1", "", "default via 10.1.0.1 dev eth0", "default via fd00::1 dev eth1"},
		{"the other", "eth0", "", "fd00::9", "default via 10.1.0.1 dev eth0", "default via fd00::9 dev eth0"},
		{"none", "eth1", "", "", "default via 10.1.0.1 dev eth0", "default via fd00::9 dev eth0"},
	} {
		gw4, _ := netip.ParseAddr(tt.gw4)
		gw6, _ := netip.ParseAddr(tt.gw6)
		if err := a.SetDefaultRoute(ctx, tt.ifname, gw4, gw6); err != nil {
			t.Fatal(err)
		}
		for family, want := range map[string]string{"-4": tt.want4, "-6": tt.want6} {
			out := strings.TrimSpace(inside(t, a, "ip "+family+" route show default"))
			if !strings.HasPrefix(out, want) || (want == "") != (out == "") || strings.Contains(out, "\n") {
				t.Errorf("%s: %q, %q was expected", tt.name, out, want)
			}
		}
	}
	if err := a.SetDefaultRoute(ctx, "eth7", netip.Addr{}, netip.Addr{}); !errors.Is(err, ErrNoInterface) {
		t.Errorf("eth7: %v", err)
	}
}

// A daemon is killed with SIGKILL; the next one finds everything again.
func testDaemonKilled(t *testing.T) {
	ctx := testContext(t)
	dir := filepath.Join(t.TempDir(), "sb")
	daemon := exec.Command(os.Args[0], testDaemonArg, dir)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	daemon.Process.Kill()
	daemon.Wait()
	if !strings.HasPrefix(line, "launched ") {
		t.Fatal(line)
	}
	a, err := Connect(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cleanUp(t, a) })
	if _, err := os.Stat(a.NetNS()); err != nil || !strings.HasPrefix(line, "launched "+strings.Split(a.NetNS(), "/")[2]+" ") {
		t.Errorf("agent is %d, %q was said: %v", a.PID(), line, err)
	}
	if s, err := a.State(ctx); err != nil || s.Phase != Running {
		t.Fatalf("%+v %v", s, err)
	}
	all, err := a.Interfaces(ctx, tap.USO)
	if err != nil || len(all) != 1 || all[0].Name != "eth0" {
		t.Fatalf("%+v %v", all, err)
	}
	defer all[0].Device.Close()
	at, err := a.Attach(ctx, AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if _, err := io.WriteString(at, "second\n"); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := readAll(t, at); !strings.HasSuffix(stdout, "second\n") {
		t.Errorf("output %q", stdout)
	}
	if s, err := a.Wait(ctx); err != nil || s.Code != 5 {
		t.Errorf("%+v %v", s, err)
	}
	if e := readLog(t, filepath.Join(dir, LogName)); len(e) != 2 || e[0].Log != "first\n" || e[1].Log != "second\n" {
		t.Errorf("log %+v", e)
	}
	waitFor(t, "the agent to end", func() bool { return !alive(a.PID()) || zombie(a.PID()) })
}

// zombie: nobody waits here for what the dead daemon started, where PID 1 does not.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(b), ") Z ")
}
