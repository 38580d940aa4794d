package demo

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"weft/arp"
	"weft/internal/frame"
	"weft/vxlan"
)

// broken is what is wrong with the nodes of a stage.
type broken struct {
	lost  bool   // the MAC table is empty
	leaky bool   // it has the stranger in it
	mute  bool   // the witness is not among the peers
	vni   uint32 // not the one that was asked for
	alive bool   // halt does nothing
	dead  bool   // resume does nothing
}

func (s *sabotage) member(ctx context.Context, i int, at netip.AddrPort) (member, error) {
	m, err := s.inProcess.member(ctx, i, at)
	if err != nil {
		return nil, err
	}
	n := *s
	n.inProcess = m.(*inProcess)
	return &n, nil
}

func (s *sabotage) overlay(ctx context.Context, o overlayNet) error {
	if s.node.mute {
		o.peers = o.peers[:len(o.peers)-1]
	}
	if s.node.vni != 0 {
		o.vni = s.node.vni
	}
	return s.inProcess.overlay(ctx, o)
}

func (s *sabotage) learned(ctx context.Context) (map[string]string, error) {
	table, err := s.inProcess.learned(ctx)
	if s.node.lost {
		clear(table)
	}
	if s.node.leaky {
		table["02:00:00:57:a9:01"] = "wide@127.0.0.5:1"
	}
	return table, err
}

func (s *sabotage) unclaimed(ctx context.Context) (map[string]uint64, error) {
	if s.silent {
		return nil, nil
	}
	return s.inProcess.unclaimed(ctx)
}

func (s *sabotage) halt(ctx context.Context) error {
	if s.node.alive {
		return nil
	}
	return s.inProcess.halt(ctx)
}

func (s *sabotage) resume(ctx context.Context) error {
	if s.node.dead || s.node.alive {
		return nil
	}
	return s.inProcess.resume(ctx)
}

// TestNodesNoticed breaks one thing of the nodes at a time: the steps that show it
// must fail, and only they.
func TestNodesNoticed(t *testing.T) {
	const (
		ping, send, table, way, strange, back = "Ping from node to node", "A verified transfer from node to node", "Who is where",
			"A datagram on the way", "A stranger", "A node goes and comes back"
	)
	for _, c := range []struct {
		name string
		s    sabotage
		fail []string
	}{
		{"nothing", sabotage{}, nil},
		{"deaf", sabotage{deaf: true}, []string{ping, table, back}},
		{"open", sabotage{open: true}, []string{way, back}},
		{"corrupt", sabotage{corrupt: true}, []string{send}},
		{"silent", sabotage{silent: true}, []string{strange}},
		{"lost", sabotage{node: broken{lost: true}}, []string{table, strange}},
		{"leaky", sabotage{node: broken{leaky: true}}, []string{strange}},
		{"mute", sabotage{node: broken{mute: true}}, []string{way, strange}},
		{"another VNI", sabotage{node: broken{vni: 4098}}, []string{way, strange}},
		{"stays", sabotage{node: broken{alive: true}}, []string{back}},
		{"does not return", sabotage{node: broken{dead: true}}, []string{back}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			noticed(t, &c.s, nodeSteps(), c.fail)
		})
	}
}

// What question builds is what decode reads, and is asked of the right one.
func TestDatagram(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	from, to := netip.MustParseAddr("10.77.3.9"), netip.MustParseAddr("10.77.3.2")
	b := question(mac, from, to)
	vni, r := vxlan.ParseHeader(b)
	if vni != wideVNI || r != frame.NotDropped || len(b) != 8+14+28 {
		t.Errorf("% x: VNI %d, %v", b, vni, r)
	}
	d, err := decode(netip.AddrPort{}, b)
	if err != nil || !d.valid() || d.vni() != wideVNI || d.asks() != to {
		t.Errorf("%+v, %v", d, err)
	}
	if want := "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP who has 10.77.3.2, tell 10.77.3.9, 42 B"; !strings.HasSuffix(d.describe(netip.AddrPort{}), want) {
		t.Errorf("%s, want %s", d.describe(netip.AddrPort{}), want)
	}
	if _, err := decode(netip.AddrPort{}, b[:7]); err == nil {
		t.Error("half a header was read")
	}
	d.head[0] = 0xf7
	if d.valid() {
		t.Error("a header without the I flag is valid")
	}
	d.inner[21] = arp.OpReply
	if d.asks().IsValid() {
		t.Error("a reply asks for somebody")
	}
	d.inner = d.inner[:20]
	if d.asks().IsValid() {
		t.Error("half a frame asks for somebody")
	}
}
