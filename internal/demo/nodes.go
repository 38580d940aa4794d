package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
)

// A member is a stage that takes part in an overlay with others.
type member interface {
	stage
	// overlay makes the network that the nodes share.
	overlay(ctx context.Context, o overlayNet) error
	// learned says behind which port of the overlay each MAC address is.
	learned(ctx context.Context) (map[string]string, error)
	// unclaimed returns what came from the underlay and belongs to no peer, by
	// reason.
	unclaimed(ctx context.Context) (map[string]uint64, error)
	// halt stops the node, while its hosts live on; resume starts it again.
	halt(ctx context.Context) error
	resume(ctx context.Context) error
}

// An overlayNet is the network that the nodes share, as one of them is told.
type overlayNet struct {
	name   string
	subnet netip.Prefix
	own    netip.Prefix // what this node gives addresses from
	vni    uint32
	peers  []netip.AddrPort // all but this node
}

// The overlay of the tour: a node each at 127.0.0.1, .2 and .3, and the tour
// itself, by the witness, at .4. At .5 is nobody that anyone knows.
const (
	wide    = "wide"
	wideVNI = 4097
	nodes   = 3
	witness = 3
	nobody  = 4
)

// underlay returns the loopback address of the i-th VTEP.
func underlay(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}) }

// hostOf names the host on the i-th node.
func hostOf(i int) string { return []string{"oak", "ash", "elm"}[i] }

// A chapter of nodes is what the tour keeps for its overlay.
type chapter struct {
	nodes   []member
	witness *net.UDPConn // the peer that is no switch
	port    uint16       // of all VTEPs
}

// tunnel names the port of the overlay that leads to the i-th VTEP.
func (c *chapter) tunnel(i int) string { return wide + "@" + c.vtep(i).String() }

func (c *chapter) vtep(i int) netip.AddrPort { return netip.AddrPortFrom(underlay(i), c.port) }

// overlay says what the i-th node is told.
func (c *chapter) overlay(i int) overlayNet {
	base := subnet(wide).Addr().As4()
	base[3] = byte(i * 64)
	o := overlayNet{name: wide, subnet: subnet(wide), own: netip.PrefixFrom(netip.AddrFrom4(base), 26), vni: wideVNI}
	for j := range nodes + 1 {
		if j != i {
			o.peers = append(o.peers, c.vtep(j))
		}
	}
	return o
}

// listen opens the witness, on a port that is free at the nodes' addresses as well.
// It lies below those the kernel gives away by itself.
func (c *chapter) listen() (err error) {
	for range 50 {
		c.port = uint16(20000 + rand.IntN(12000))
		if c.witness, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(c.vtep(witness))); err != nil {
			continue
		}
		if err = c.free(); err == nil {
			return nil
		}
		c.witness.Close()
	}
	c.witness = nil
	return fmt.Errorf("no UDP port is free on 127.0.0.1 to 127.0.0.4: %w", err)
}

func (c *chapter) free() error {
	for i := range nodes {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(c.vtep(i)))
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}

// close takes the nodes down.
func (c *chapter) close(ctx context.Context) error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.close(ctx))
	}
	if c.witness != nil {
		errs = append(errs, c.witness.Close())
	}
	return errors.Join(errs...)
}

// on returns the tour as seen from the i-th node.
func (t *tour) on(i int) (*tour, member, error) {
	if i >= len(t.nodes) {
		return nil, nil, fmt.Errorf("node %d is not there", i+1)
	}
	there := *t
	there.stage = t.nodes[i]
	return &there, t.nodes[i], nil
}

// wideAddr returns the address and the MAC of the host on the i-th node.
func (t *tour) wideAddr(ctx context.Context, i int) (addr netip.Addr, mac string, err error) {
	there, _, err := t.on(i)
	if err != nil {
		return addr, "", err
	}
	ls, err := there.links(ctx, hostOf(i))
	if err != nil {
		return addr, "", err
	}
	if len(ls) == 0 || len(ls[0].addrs) == 0 || !subnet(wide).Contains(ls[0].addrs[0].Addr()) {
		return addr, "", fmt.Errorf("%s has %v, want a first interface with an address in %s", hostOf(i), ls, subnet(wide))
	}
	return ls[0].addrs[0].Addr(), ls[0].mac, nil
}
