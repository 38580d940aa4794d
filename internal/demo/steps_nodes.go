package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// nodeSteps returns the chapter of the tour that plays on three nodes: oak, ash and
// elm are on one network, each on a node of its own.
func nodeSteps() []step {
	return []step{
		{"Three nodes", "As on three machines: each has a switch of its own, and they meet by UDP at loopback addresses, nowhere else.", threeNodes},
		{"One network across them", "Each is told the same subnet and VNI, who the others are, and its own range of addresses.", acrossNodes},
		{"Ping from node to node", "Frames travel in VXLAN datagrams; nobody told a node which host is where.", pingNodes},
		{"A verified transfer from node to node", "TCP through an overlay: cut, encapsulated, sent by UDP, joined again, and every byte accounted for.", transferNodes},
		{"Who is where", "The MAC table has the other nodes' hosts behind their VTEPs.", whoIsWhere},
		{"A datagram on the way", "A fourth peer is no switch but a plain UDP socket of the tour. It gets its copy of a broadcast, and takes it apart.", onTheWay},
		{"A stranger", "A datagram from an address that is no peer's is counted, and nothing is learned from it; the same bytes from a peer are let in.", stranger},
		{"A node goes and comes back", "Its hosts live on and are cut off; the others do not mind; then traffic goes on by itself.", comesBack},
	}
}

func threeNodes(ctx context.Context, t *tour) (string, error) {
	if err := t.chapter.listen(); err != nil {
		return "", err
	}
	var proof []string
	for i := range nodes {
		n, err := t.member(ctx, i, t.vtep(i))
		if err != nil {
			return strings.Join(proof, "\n"), fmt.Errorf("node %d: %w", i+1, err)
		}
		t.nodes = append(t.nodes, n)
		proof = append(proof, fmt.Sprintf("node %d: VTEP %s", i+1, t.vtep(i)))
	}
	return strings.Join(proof, "\n"), nil
}

func acrossNodes(ctx context.Context, t *tour) (string, error) {
	var proof []string
	for i := range nodes {
		there, n, err := t.on(i)
		if err != nil {
			return "", err
		}
		o := t.chapter.overlay(i)
		if err := n.overlay(ctx, o); err != nil {
			return "", err
		}
		if err := there.start(ctx, hostOf(i), wide); err != nil {
			return "", err
		}
		a, mac, err := t.wideAddr(ctx, i)
		if err != nil {
			return "", err
		}
		if !o.own.Contains(a) {
			return "", fmt.Errorf("%s got %s, which is not in node %d's range %s", hostOf(i), a, i+1, o.own)
		}
		proof = append(proof, fmt.Sprintf("%s: eth0 %s %s on %s, VNI %d", hostOf(i), a, mac, wide, o.vni))
	}
	return strings.Join(proof, "\n"), nil
}

func pingNodes(ctx context.Context, t *tour) (string, error) {
	var proof []string
	for to := range nodes {
		a, _, err := t.wideAddr(ctx, to)
		if err != nil {
			return "", err
		}
		for from := range nodes {
			if from == to {
				continue
			}
			line, err := t.reachFrom(ctx, from, a, 2)
			if err != nil {
				return strings.Join(proof, "\n"), err
			}
			proof = append(proof, line)
		}
	}
	return strings.Join(proof, "\n"), nil
}

// reachFrom pings from the host on the i-th node.
func (t *tour) reachFrom(ctx context.Context, i int, to netip.Addr, count int) (string, error) {
	there, _, err := t.on(i)
	if err != nil {
		return "", err
	}
	return there.reach(ctx, hostOf(i), to, count)
}

func transferNodes(ctx context.Context, t *tour) (string, error) {
	ash, _, err := t.wideAddr(ctx, 1)
	if err != nil {
		return "", err
	}
	there, _, err := t.on(0)
	if err != nil {
		return "", err
	}
	r, err := there.send(ctx, "oak", ash, t.hashed, true)
	if err != nil {
		return "", err
	}
	if r.Bytes != t.hashed || r.Sum == [32]byte{} {
		return "", fmt.Errorf("%d bytes, sum %x, want %d bytes summed", r.Bytes, r.Sum, t.hashed)
	}
	return fmt.Sprintf("oak → ash: %s on both ends", r.String()), nil
}

func whoIsWhere(ctx context.Context, t *tour) (string, error) {
	_, n, err := t.on(0)
	if err != nil {
		return "", err
	}
	table, err := n.learned(ctx)
	if err != nil {
		return "", err
	}
	var proof []string
	for i := 1; i < nodes; i++ {
		_, mac, err := t.wideAddr(ctx, i)
		if err != nil {
			return "", err
		}
		if table[mac] != t.tunnel(i) {
			return "", fmt.Errorf("node 1 has %s of %s behind %q, want %s; it knows %v", mac, hostOf(i), table[mac], t.tunnel(i), table)
		}
		proof = append(proof, fmt.Sprintf("node 1: %s (%s) is behind %s", mac, hostOf(i), table[mac]))
	}
	return strings.Join(proof, "\n"), nil
}

func onTheWay(ctx context.Context, t *tour) (string, error) {
	there, _, err := t.on(0)
	if err != nil {
		return "", err
	}
	oak, _, err := t.wideAddr(ctx, 0)
	if err != nil {
		return "", err
	}
	// Nobody has the address: oak asks everyone for it.
	missing := netip.AddrFrom4([4]byte{10, 77, 3, 250})
	if err := t.drain(); err != nil {
		return "", err
	}
	proof, err := there.refused(ctx, "oak", missing)
	if err != nil {
		return "", err
	}
	d, err := t.await(ctx, missing)
	if err != nil {
		return "", fmt.Errorf("no request for %s came to %s: %w", missing, t.vtep(witness), err)
	}
	proof = fmt.Sprintf("%s, and everybody was asked for it\n%s", proof, d.describe(t.vtep(witness)))
	if d.from.Addr() != underlay(0) || !d.valid() || d.vni() != wideVNI {
		err = fmt.Errorf("the datagram is not one of node 1 (%s) for VNI %d", underlay(0), wideVNI)
	} else if !strings.Contains(proof, oak.String()) {
		err = fmt.Errorf("the inner frame is not of oak (%s)", oak)
	}
	return proof, err
}

func stranger(ctx context.Context, t *tour) (string, error) {
	const reason, n = "unknown-vtep", 3
	_, node, err := t.on(0)
	if err != nil {
		return "", err
	}
	oak, _, err := t.wideAddr(ctx, 0)
	if err != nil {
		return "", err
	}
	mac := net.HardwareAddr{2, 0, 0, 0x57, 0xa9, 1}
	b := question(mac, netip.AddrFrom4([4]byte{10, 77, 3, 251}), oak)
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(underlay(nobody), 0)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	before, err := node.unclaimed(ctx)
	if err != nil {
		return "", err
	}
	for range n {
		if _, err := conn.WriteToUDPAddrPort(b, t.vtep(0)); err != nil {
			return "", err
		}
	}
	err = eventually(ctx, func() error {
		after, err := node.unclaimed(ctx)
		if err == nil && after[reason] != before[reason]+n {
			err = fmt.Errorf("counter %s of node 1 grew by %d, want %d", reason, after[reason]-before[reason], n)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	proof := fmt.Sprintf("%s → node 1: %d datagrams for VNI %d, %s +%d", conn.LocalAddr(), n, wideVNI, reason, n)
	table, err := node.learned(ctx)
	if err != nil {
		return proof, err
	}
	if table[mac.String()] != "" {
		return proof, fmt.Errorf("node 1 learned %s from it, behind %s", mac, table[mac.String()])
	}
	proof += "\nnode 1 has learned no " + mac.String()
	line, err := t.letIn(ctx, b, mac.String())
	return proof + "\n" + line, err
}

// letIn sends the same from the witness, which is a peer, and wants it learned.
func (t *tour) letIn(ctx context.Context, b []byte, mac string) (string, error) {
	_, node, err := t.on(0)
	if err != nil {
		return "", err
	}
	if _, err := t.chapter.witness.WriteToUDPAddrPort(b, t.vtep(0)); err != nil {
		return "", err
	}
	err = eventually(ctx, func() error {
		table, err := node.learned(ctx)
		if err == nil && table[mac] != t.tunnel(witness) {
			err = fmt.Errorf("node 1 has %s behind %q after the same datagram from a peer, want %s", mac, table[mac], t.tunnel(witness))
		}
		return err
	})
	return fmt.Sprintf("%s → node 1: the same datagram, now it is behind %s", t.vtep(witness), t.tunnel(witness)), err
}

// eventually asks again and again, until there is no error or no time left.
func eventually(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func comesBack(ctx context.Context, t *tour) (string, error) {
	there, _, err := t.on(0)
	if err != nil {
		return "", err
	}
	_, last, err := t.on(nodes - 1)
	if err != nil {
		return "", err
	}
	ash, _, err := t.wideAddr(ctx, 1)
	if err != nil {
		return "", err
	}
	elm, _, err := t.wideAddr(ctx, nodes-1)
	if err != nil {
		return "", err
	}
	if err := last.halt(ctx); err != nil {
		return "", err
	}
	proof := []string{"node 3 stops"}
	cut, err := there.refused(ctx, "oak", elm)
	others, err2 := there.reach(ctx, "oak", ash, 2)
	if err := errors.Join(err, err2, last.resume(ctx)); err != nil {
		return strings.Join(proof, "\n"), err
	}
	proof = append(proof, cut, others, "node 3 starts")
	var back string
	err = eventually(ctx, func() (err error) { back, err = there.reach(ctx, "oak", elm, 2); return err })
	return strings.Join(slices.Concat(proof, []string{back}), "\n"), err
}
