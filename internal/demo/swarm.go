package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"weft/internal/api"
)

// A swarmer is a stage that can make nodes of a swarm.
type swarmer interface {
	// swarmNode makes the i-th node. It is in no swarm yet.
	swarmNode(ctx context.Context, i int, p swarmPorts) (swarmNode, error)
}

// A swarmNode is a stage that takes part in a swarm with others.
type swarmNode interface {
	stage
	// found makes a swarm and returns what workers join by.
	found(ctx context.Context) (token string, err error)
	// join makes the node a member of a swarm.
	join(ctx context.Context, token string, manager netip.AddrPort) error
	// roster returns the table of nodes, its heading first; only a manager has it.
	roster(ctx context.Context) (string, error)
	// mesh makes an overlay, and names no peer.
	mesh(ctx context.Context, network string) error
	// vault makes one that is encrypted.
	vault(ctx context.Context, network string) error
	// keys returns what the node has keys for, and the table of it that its user sees.
	keys(ctx context.Context) (rings []api.KeyRing, table string, err error)
	// rotate makes new keys for the swarm; only a manager does.
	rotate(ctx context.Context) error
	// export returns the keys of a network, as Wireshark is told them.
	export(ctx context.Context, network string) (lines string, err error)
	// carried counts the packets of a network that went to each VTEP and came from it,
	// and what the kernel dropped in front of the sockets for encrypted networks.
	carried(ctx context.Context, network string) (by map[netip.AddrPort]packetCounts, kernel uint64, err error)
	// knows reports whether a network is there for sandboxes to join.
	knows(ctx context.Context, network string) bool
	// located says behind which port of a network each address is that the node
	// was told of; what it would have learned by itself is left out.
	located(ctx context.Context, network string) (map[netip.Addr]string, error)
	// tunnels returns a network's tunnels by VTEP, and what was dropped of that
	// which came by each, by reason.
	tunnels(ctx context.Context, network string) (map[netip.AddrPort]map[string]uint64, error)
	// end removes a host.
	end(ctx context.Context, host string) error
	// kill kills the node without warning, while its hosts live on; resume starts
	// it again.
	kill(ctx context.Context) error
	resume(ctx context.Context) error
}

// packetCounts are packets that went to a VTEP and that came from it.
type packetCounts struct{ tx, rx uint64 }

// swarmPorts are the ports of all nodes of the swarm.
type swarmPorts struct{ control, gossip, dataPath, esp uint16 }

// The network of the swarm, its nodes at 127.0.0.1, .2 and .3, and how long it may
// take from the first command to the first answer, if all goes as it should.
const (
	mesh       = "mesh"
	swarmNodes = 3
	swarmAim   = 5 * time.Second
)

// swarmHost names the host on the i-th node.
func swarmHost(i int) string { return fmt.Sprintf("demo%d", i+1) }

// A swarmChapter is what the tour keeps for its swarm.
type swarmChapter struct {
	nodes []swarmNode
	ports swarmPorts
	began time.Time // the first command
}

func (c *swarmChapter) vtep(i int) netip.AddrPort {
	return netip.AddrPortFrom(underlay(i), c.ports.dataPath)
}

// tunnel names the port of the overlay that leads to the i-th node.
func (c *swarmChapter) tunnel(i int) string { return mesh + "@" + c.vtep(i).String() }

// choose finds ports that are free at all nodes' addresses. They lie below those the
// kernel gives away by itself; until the daemons listen, another may still take one.
func (c *swarmChapter) choose() (err error) {
	for range 50 {
		first := uint16(20000 + rand.IntN(12000))
		c.ports = swarmPorts{control: first, gossip: first + 1, dataPath: first + 2, esp: first + 3}
		if err = c.free(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no four ports in a row are free on 127.0.0.1 to 127.0.0.%d: %w", swarmNodes, err)
}

func (c *swarmChapter) free() error {
	for i := range swarmNodes {
		for _, p := range []uint16{c.ports.control, c.ports.gossip, c.ports.dataPath, c.ports.esp} {
			at := netip.AddrPortFrom(underlay(i), p)
			stream, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			stream.Close()
			packets, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			packets.Close()
		}
	}
	return nil
}

// close takes the nodes down, the manager last: the others tell it what ends.
func (c *swarmChapter) close(ctx context.Context) error {
	var errs []error
	for i := range c.nodes {
		errs = append(errs, c.nodes[len(c.nodes)-1-i].close(ctx))
	}
	return errors.Join(errs...)
}

// inSwarm returns the tour as seen from the i-th node of the swarm.
func (t *tour) inSwarm(i int) (*tour, swarmNode, error) {
	if i >= len(t.swarm.nodes) {
		return nil, nil, fmt.Errorf("node %d is not there", i+1)
	}
	there := *t
	there.stage = t.swarm.nodes[i]
	return &there, t.swarm.nodes[i], nil
}

// meshAddr returns the address that the i-th node's host has on the mesh.
func (t *tour) meshAddr(ctx context.Context, i int) (netip.Prefix, error) {
	return t.overlayAddr(ctx, i, swarmHost(i))
}

// overlayAddr returns the address of a host on the i-th node that is on one overlay: of
// its first interface. A second is its way out, on weft_gwbridge.
func (t *tour) overlayAddr(ctx context.Context, i int, host string) (netip.Prefix, error) {
	there, _, err := t.inSwarm(i)
	if err != nil {
		return netip.Prefix{}, err
	}
	ls, err := there.links(ctx, host)
	if err != nil {
		return netip.Prefix{}, err
	}
	if len(ls) == 0 || len(ls[0].addrs) == 0 {
		return netip.Prefix{}, fmt.Errorf("%s has %v, want a first interface with an address", host, ls)
	}
	return ls[0].addrs[0], nil
}
