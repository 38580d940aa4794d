package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"weft/internal/cnm"
	"weft/internal/discovery"
	"weft/tap"
)

// BenchmarkTendNames is what names add to each publishing on a node with 1,000 sandboxes
// on one network.
func BenchmarkTendNames(b *testing.B) {
	n := &Node{cfg: Config{ResolvConf: hostResolv}, log: slog.New(slog.DiscardHandler), names: newNames(), networks: map[string]*network{}, boxes: map[string]*box{}}
	n.networks["front"] = &network{Network: cnm.Network{ID: "front", Name: "front", Driver: cnm.DriverBridge}}
	for i := range 1000 {
		sb := cnm.Sandbox{ID: fmt.Sprintf("%064x", i), Spec: cnm.SandboxSpec{Name: fmt.Sprintf("sb%d", i)}}
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		sb.Endpoints = []cnm.Endpoint{{ID: fmt.Sprintf("e%d", i), NetworkID: "front", Network: "front", IfName: "eth0", IPv4: netip.PrefixFrom(a, 16), DNSNames: cnm.DNSNames(sb.Spec, sb.ID, cnm.EndpointConfig{})}}
		bx := newBox(sb)
		bx.devices["eth0"] = new(tap.Device)
		bx.names = &nameServer{view: n.names.table.NewView(discovery.ViewConfig{})}
		n.boxes[sb.ID] = bx
	}
	b.ReportAllocs()
	for b.Loop() {
		n.tendNames()
	}
}
