package node

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/cnm"
)

// visit is a host on a link of its own: once it has the interface it takes an address,
// and calls the ports 8080 (TCP) and 5353 (UDP) of another host.
func visit(ifName, prefix, host string) error {
	own, to := netip.MustParsePrefix(prefix), netip.MustParseAddr(host)
	var link netlink.Link
	var err error
	for range 200 {
		if link, err = netlink.LinkByName(ifName); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	if err := liftWith(link, own); err != nil {
		return err
	}
	for _, at := range []struct {
		network string
		port    uint16
	}{{"tcp", 8080}, {"udp", 5353}} {
		var line string
		for range 30 { // the server, or the link, may not be up yet
			if line, err = callOnce(at.network, netip.AddrPortFrom(to, at.port)); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			return err
		}
		fmt.Println(at.network, line)
	}
	return nil
}

// callOnce sends a line and returns the caller's own address, and the answer.
func callOnce(network string, to netip.AddrPort) (string, error) {
	c, err := net.DialTimeout(network, to.String(), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintln(c, "hello")
	b := make([]byte, 1500)
	n, err := c.Read(b)
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s", c.LocalAddr(), b[:n])), " "), err
}

func liftWith(link netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
	if a.Addr().Is6() {
		addr.Flags = 0x02 // IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// A client on another host is seen as he is, in both families, TCP and UDP; what answers
// him is the address he called.
func TestPortsVisitor(t *testing.T) {
	onMachine(t, func(t *testing.T) {
		watchLeaks(t)
		n := openBeside(t, testConfig(t))
		mustNetwork(t, n, dual("dual", 52))
		mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":80"), Networks: on("dual"), Ports: []cnm.PortMapping{{Proto: "tcp", Port: 80, HostPort: 8080}}})
		mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Cmd: program("packets", ":53"), Networks: on("dual"), Ports: []cnm.PortMapping{{Proto: "udp", Port: 53, HostPort: 5353}}})
		for i, c := range []struct{ visitor, host string }{
			{"203.0.113.2/24", "203.0.113.1/24"},
			{"2001:db8:7::2/64", "2001:db8:7::1/64"},
		} {
			near, far := fmt.Sprintf("near%d", i), fmt.Sprintf("far%d", i)
			host := netip.MustParsePrefix(c.host)
			var out strings.Builder
			args := program("visit", far, c.visitor, host.Addr().String())
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &out, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far, PeerNamespace: netlink.NsPid(cmd.Process.Pid)}
			err := netlink.LinkAdd(veth)
			var link netlink.Link
			if err == nil {
				link, err = netlink.LinkByName(near)
			}
			if err == nil {
				err = liftWith(link, host)
			}
			if err != nil {
				cmd.Process.Kill()
				t.Error(err)
			}
			err = cmd.Wait()
			who := netip.MustParsePrefix(c.visitor).Addr()
			var tcpFrom, tcpSeen, udpFrom, udpSeen string
			fmt.Sscanf(strings.ReplaceAll(out.String(), "\n", " "), "tcp %s hello from %s udp %s hello from %s", &tcpFrom, &tcpSeen, &udpFrom, &udpSeen)
			if err != nil || tcpSeen != who.String() || udpSeen != udpFrom || !strings.Contains(udpFrom, who.String()) || !strings.Contains(tcpFrom, who.String()) {
				t.Errorf("%s calls %s: %v\n%s", c.visitor, host.Addr(), err, &out)
			}
		}
	})
}
