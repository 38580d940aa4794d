package api

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"weft/internal/cnm"
	"weft/internal/discovery"
	"weft/internal/frame"
	"weft/internal/node"
	"weft/internal/uplink"
	"weft/ipsec"
)

// A memory is a Backend without a switch: a model of the rules that the API
// depends on, and processes that live in the test.
type memory struct {
	mu        sync.Mutex
	now       func() time.Time
	networks  []*node.NetworkView
	sandboxes []*box
	execs     map[string]*process
	execInfo  map[string]node.ExecInfo
	subs      map[chan cnm.Event]struct{}
	history   []cnm.Event
	serial    int
	err       error // every change answers with it
	captured  node.CaptureOptions
	exported  []string           // networks whose keys were given out
	flushed   []string           // NETWORK/SANDBOX whose flows were ended
	static    []discovery.Static // written down
}

// A box is a sandbox of memory.
type box struct {
	cnm.Sandbox
	proc *process
}

func newMemory() *memory {
	m := &memory{now: time.Now, execs: map[string]*process{}, execInfo: map[string]node.ExecInfo{}, subs: map[chan cnm.Event]struct{}{}}
	for _, n := range []string{"bridge", "host", "none"} {
		m.networks = append(m.networks, &node.NetworkView{Network: cnm.Network{
			ID: m.id(), Name: n, Created: time.Unix(int64(m.serial), 0), Scope: "local", Driver: n, EnableIPv4: true,
			IPAM: cnm.IPAM{Driver: "default"},
		}})
	}
	return m
}

// id returns the next 64 hex digits; the first twelve tell IDs apart.
func (m *memory) id() string {
	m.serial++
	return fmt.Sprintf("%012x%052x", m.serial*0x1010101, m.serial)
}

func (m *memory) Info() node.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	return node.Info{
		ID: "9f6c4b1e-0000-4000-8000-000000000001", Name: "host1", Version: "0.1.0", Kernel: "6.1.0", OS: "Debian GNU/Linux 12 (bookworm)",
		CPUs: 2, MemTotal: 8 << 30, DataDir: "/home/u/.local/share/weft", RunDir: "/run/user/1000/weft", Rootless: true, PID: 77,
		Started: time.Unix(1700000000, 0).UTC(), Sandboxes: len(m.sandboxes), Networks: len(m.networks), Workers: 2, Rung: "uso", Uplink: "host",
		Pools: []node.AddressPool{{Base: netip.MustParsePrefix("172.17.0.0/16"), Size: 16}},
	}
}

// Events implements Backend: history first, then what comes, to a reader that
// is never slow.
func (m *memory) Events(ctx context.Context, since, until time.Time) <-chan cnm.Event {
	ch := make(chan cnm.Event, 100)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.history {
		if !since.IsZero() && !e.Time.Before(since) && (until.IsZero() || !e.Time.After(until)) {
			ch <- e
		}
	}
	if !until.IsZero() && !until.After(m.now()) {
		close(ch)
		return ch
	}
	m.subs[ch] = struct{}{}
	context.AfterFunc(ctx, func() { m.unsubscribe(ch) })
	if !until.IsZero() {
		time.AfterFunc(time.Until(until), func() { m.unsubscribe(ch) })
	}
	return ch
}

func (m *memory) unsubscribe(ch chan cnm.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.subs[ch]; ok {
		delete(m.subs, ch)
		close(ch)
	}
}

func (m *memory) emitLocked(kind, action, id string, attrs map[string]string) {
	e := cnm.Event{Time: m.now(), Type: kind, Action: action, ActorID: id, Attributes: attrs}
	m.history = append(m.history, e)
	for ch := range m.subs {
		ch <- e
	}
}

func (m *memory) findNetworkLocked(ref string) (*node.NetworkView, error) {
	for _, n := range m.networks {
		if n.Name == ref || strings.HasPrefix(n.ID, ref) {
			return n, nil
		}
	}
	return nil, cnm.Errorf(cnm.NotFound, "network %s not found", ref)
}

func (m *memory) Networks() []node.NetworkView {
	m.mu.Lock()
	defer m.mu.Unlock()
	var l []node.NetworkView
	for _, n := range m.networks {
		l = append(l, m.viewLocked(n))
	}
	return l
}

func (m *memory) viewLocked(n *node.NetworkView) node.NetworkView {
	v := *n
	v.Endpoints = nil
	for _, b := range m.sandboxes {
		for _, e := range b.Endpoints {
			if e.NetworkID == n.ID && b.State == cnm.Running {
				v.Endpoints = append(v.Endpoints, node.EndpointView{Endpoint: e, Sandbox: b.Spec.Name, Name: b.Spec.Name})
			}
		}
	}
	return v
}

func (m *memory) Network(ref string) (node.NetworkView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findNetworkLocked(ref)
	if err != nil {
		return node.NetworkView{}, err
	}
	return m.viewLocked(n), nil
}

func (m *memory) NetworkCreate(_ context.Context, n cnm.Network) (string, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return "", "", m.err
	}
	if n.Name == "" {
		return "", "", cnm.Errorf(cnm.Invalid, "network name required")
	}
	for _, o := range m.networks {
		if o.Name == n.Name {
			return "", "", cnm.Errorf(cnm.Conflict, "network with name %s already exists", n.Name)
		}
	}
	n.ID, n.Created, n.Scope = m.id(), m.now(), "local"
	if n.Driver == "" {
		n.Driver = "bridge"
	}
	if n.IPAM.Driver == "" {
		n.IPAM.Driver = "default"
	}
	if len(n.IPAM.Config) == 0 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(15 + m.serial), 0, 0}), 16)
		n.IPAM.Config = []cnm.Pool{{Subnet: p, Gateway: p.Addr().Next()}}
	}
	v := &node.NetworkView{Network: n}
	if n.Driver == cnm.DriverOverlay { // by the real rules
		o, err := cnm.ParseOverlayOptions(n.Options)
		if err != nil {
			return "", "", err
		}
		v.MTU, v.Peers = 1450, o.Remotes(4789, nil)
	}
	m.networks = append(m.networks, v)
	m.emitLocked("network", "create", n.ID, map[string]string{"name": n.Name, "type": n.Driver})
	return n.ID, "", nil
}

func (m *memory) NetworkRemove(_ context.Context, ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findNetworkLocked(ref)
	if err != nil {
		return err
	}
	if predefined(n.Name) {
		return cnm.Errorf(cnm.Forbidden, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	if len(m.viewLocked(n).Endpoints) > 0 {
		return cnm.Errorf(cnm.Conflict, "error while removing network: network %s id %s has active endpoints", n.Name, n.ID)
	}
	m.removeNetworkLocked(n)
	return nil
}

func (m *memory) removeNetworkLocked(n *node.NetworkView) {
	for i, o := range m.networks {
		if o == n {
			m.networks = append(m.networks[:i:i], m.networks[i+1:]...)
			m.emitLocked("network", "destroy", n.ID, map[string]string{"name": n.Name, "type": n.Driver})
			return
		}
	}
}

func (m *memory) NetworkPrune(_ context.Context, keep func(cnm.Network) bool) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, n := range append([]*node.NetworkView(nil), m.networks...) {
		if !predefined(n.Name) && len(m.viewLocked(n).Endpoints) == 0 && !keep(n.Network) {
			names = append(names, n.Name)
			m.removeNetworkLocked(n)
		}
	}
	return names, nil
}

func (m *memory) NetworkConnect(_ context.Context, network, sandbox string, c cnm.EndpointConfig) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findNetworkLocked(network)
	if err != nil {
		return err
	}
	b, err := m.findLocked(sandbox)
	if err != nil {
		return err
	}
	for _, e := range b.Endpoints {
		if e.NetworkID == n.ID {
			return cnm.Errorf(cnm.Forbidden, "endpoint with name %s already exists in network %s", b.Spec.Name, n.Name)
		}
	}
	m.joinLocked(b, n, c)
	return nil
}

// joinLocked gives the endpoint made-up but plausible addresses.
func (m *memory) joinLocked(b *box, n *node.NetworkView, c cnm.EndpointConfig) {
	e := cnm.Endpoint{ID: m.id(), NetworkID: n.ID, Network: n.Name, SandboxID: b.ID, Config: c,
		IfName: fmt.Sprintf("eth%d", len(b.Endpoints)), MTU: 1500, MAC: c.MAC, DNSNames: []string{b.Spec.Name, b.ID[:12]}}
	for _, p := range n.IPAM.Config {
		a := p.Gateway.Next()
		if c.IPv4.IsValid() {
			a = c.IPv4
		}
		e.IPv4, e.Gateway4 = netip.PrefixFrom(a, p.Subnet.Bits()), p.Gateway
		if e.MAC == (frame.MAC{}) {
			v4 := a.As4()
			e.MAC = frame.MAC{2, 0x42, v4[0], v4[1], v4[2], v4[3]}
		}
	}
	b.Endpoints = append(b.Endpoints, e)
	m.emitLocked("network", "connect", n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": b.ID})
}

func (m *memory) NetworkDisconnect(_ context.Context, network, sandbox string, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findNetworkLocked(network)
	if err != nil {
		return err
	}
	b, err := m.findLocked(sandbox)
	if err != nil {
		return err
	}
	for i, e := range b.Endpoints {
		if e.NetworkID == n.ID {
			b.Endpoints = append(b.Endpoints[:i:i], b.Endpoints[i+1:]...)
			m.emitLocked("network", "disconnect", n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": b.ID})
			return nil
		}
	}
	return cnm.Errorf(cnm.Forbidden, "container %s is not connected to network %s", b.Spec.Name, n.Name)
}

func (m *memory) FDB(network string) ([]node.FDBEntry, error) {
	if network == "nowhere" {
		return nil, cnm.Errorf(cnm.NotFound, "network %s not found", network)
	}
	return []node.FDBEntry{
		{Network: "bridge", MAC: frame.MAC{2, 0x42, 172, 17, 0, 1}, Port: "gateway", Static: true},
		{Network: "bridge", MAC: frame.MAC{2, 0x42, 172, 17, 0, 2}, Port: "a:eth0", Sandbox: "a", Age: 3 * time.Second},
	}, nil
}

func (m *memory) Neighbours(string) ([]node.Neighbour, error) {
	return []node.Neighbour{{Network: "bridge", Addr: netip.MustParseAddr("172.17.0.2"), MAC: frame.MAC{2, 0x42, 172, 17, 0, 2}, Sandbox: "a", Static: true}}, nil
}

func (m *memory) Stats() []node.PortStats {
	return []node.PortStats{{Port: "a:eth0", Sandbox: "a", Network: "bridge", IfName: "eth0", MAC: frame.MAC{2, 0x42, 172, 17, 0, 2}, Rung: "uso", RxFrames: 7, Drops: map[string]uint64{"spoofed-mac": 2}}}
}

func (m *memory) Peers() ([]node.PeerStats, []node.Underlay) {
	return []node.PeerStats{
			{Network: "wide", VNI: 4097, Peer: netip.MustParseAddrPort("192.0.2.2:4789"), MTU: 1450, RxFrames: 7, RxPackets: 9, RxBytes: 700,
				TxFrames: 5, TxPackets: 90, TxBytes: 90000, Drops: map[string]uint64{"too-big": 2}, Learned: 3},
			{Network: "wide", VNI: 4097, Peer: netip.MustParseAddrPort("192.0.2.3:4790"), MTU: 1450},
			{Network: "other", VNI: 4098, Peer: netip.MustParseAddrPort("[2001:db8::2]:4789"), MTU: 1388, Cipher: "aes-256-gcm"},
		}, []node.Underlay{{Addr: netip.MustParseAddrPort("192.0.2.1:4789"), SendRung: "gso", ReceiveRung: "gro", RxDatagrams: 9, TxDatagrams: 90,
			GROMessages: 1, GSOMessages: 4, KernelDrops: 1, Drops: map[string]uint64{"unknown-vtep": 6}}}
}

// Flows: one that a sandbox began, one that came in, one of a sandbox that has gone.
func (m *memory) Flows(network string) ([]node.Flow, error) {
	if network != "" && network != "front" {
		return nil, cnm.Errorf(cnm.NotFound, "network %s not found", network)
	}
	at := netip.MustParseAddrPort
	return []node.Flow{
		{Network: "front", Sandbox: "rose", FlowInfo: uplink.FlowInfo{Proto: "tcp", State: "established", Endpoint: at("172.18.0.2:40000"), Remote: at("192.0.2.1:443"),
			BytesOut: 300, BytesIn: 9000, Age: time.Minute, Idle: time.Second}},
		{Network: "front", Sandbox: "rose", FlowInfo: uplink.FlowInfo{Proto: "udp", State: "replied", Endpoint: at("172.18.0.2:53"), Remote: at("192.0.2.9:5353"), Published: at("0.0.0.0:8053")}},
		{Network: "front", FlowInfo: uplink.FlowInfo{Proto: "icmp", State: "unreplied", Endpoint: at("172.18.0.9:7"), Remote: at("192.0.2.1:0")}},
	}, nil
}

// FlushFlows notes what was asked for.
func (m *memory) FlushFlows(network, sandbox string) (int, error) {
	if sandbox == "nobody" {
		return 0, cnm.Errorf(cnm.NotFound, "No such container: nobody")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushed = append(m.flushed, network+"/"+sandbox)
	return 3, nil
}

// DNSRecords: one of each origin.
func (m *memory) DNSRecords(network string) ([]discovery.Record, error) {
	if network != "" && network != "front" {
		return nil, cnm.Errorf(cnm.NotFound, "network %s not found", network)
	}
	return []discovery.Record{
		{Name: "db", Type: "A", TTL: 30, Value: "192.0.2.7", Origin: discovery.FromStatic, Owner: "A db", OwnerID: "A db", In: true},
		{Network: "front", Name: "rose", Type: "AAAA", TTL: 5, Value: "fd00::2", Origin: discovery.FromEndpoint, Owner: "rose", OwnerID: "e1", Node: "node1", State: discovery.Draining},
	}, nil
}

// DNSAdd notes what was asked for.
func (m *memory) DNSAdd(_ context.Context, s discovery.Static) ([]string, error) {
	if s.Type == "MX" {
		return nil, cnm.Errorf(cnm.Invalid, "type MX")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.static = append(m.static, s)
	return []string{"somebody has it"}, nil
}

func (m *memory) DNSRemove(_ context.Context, network, name, kind string) error {
	if network+"/"+name+"/"+kind != "front/db/A" {
		return cnm.Errorf(cnm.NotFound, "no such record")
	}
	return nil
}

func (m *memory) DNSQuery(_ context.Context, from, name, kind string) (discovery.Reply, error) {
	if from == "nobody" {
		return discovery.Reply{}, cnm.Errorf(cnm.NotFound, "No such container: nobody")
	}
	return discovery.Reply{Rcode: "NOERROR", Local: true, Records: []string{name + ". 5 IN " + kind + " 10.0.0.2"}}, nil
}

func (m *memory) DNSStats() (map[string]uint64, []string) {
	return map[string]uint64{"queries-udp": 7}, []string{"www is answered by several"}
}

func (m *memory) UplinkStats() []node.UplinkStats {
	return []node.UplinkStats{
		{Network: "front", Stats: uplink.Stats{TCP: 1, UDP: 1, ICMP: 1, BytesOut: 300, BytesIn: 9000, Counts: map[string]uint64{"connect-refused": 2, "no-socket": 0}}},
		{Network: "idle"},
	}
}

// Keys: a swarm's ring with a peer that is ready and one that has announced nothing,
// and a static overlay's.
func (m *memory) Keys() []node.KeyRing {
	since := time.Unix(1700000000, 0).UTC()
	return []node.KeyRing{
		{Networks: []string{"back", "front"}, Cipher: "aes-256-gcm", ESN: true, VTEP: netip.MustParseAddrPort("192.0.2.1:4500"), Epoch: 7,
			Since: since, Next: since.Add(12 * time.Hour), Generation: 3, Peers: []node.KeyPeer{
				{ID: "2two", Name: "two", VTEP: "192.0.2.2:4500", Ready: true, Pairs: []ipsec.PairStatus{
					{Epoch: 6, Generation: 4, State: ipsec.Retiring, Since: since, SAs: 6, SentBytes: 10, Packets: 1, Bytes: 20, Replayed: 1},
					{Epoch: 7, Generation: 4, State: ipsec.Sending, Since: since, SAs: 6, SentPackets: 2, SentBytes: 300, Packets: 3, Bytes: 400, Forged: 2, Worn: true},
				}},
				{ID: "3three", Name: "three"},
			}},
		{Networks: []string{"lab"}, Cipher: "chacha20-poly1305", Secret: "/etc/weft/secret", VTEP: netip.MustParseAddrPort("192.0.2.1:4500"), Epoch: 39351, Since: since, Generation: 5},
	}
}

// ExportKeys has one key, of the network front.
func (m *memory) ExportKeys(network string) ([]ipsec.ExportedSA, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exported = append(m.exported, network)
	switch network {
	case "", "front":
		return []ipsec.ExportedSA{{From: netip.MustParseAddr("192.0.2.1"), To: netip.MustParseAddr("192.0.2.2"), SPI: 0xabc123, Algorithm: ipsec.AES256GCM,
			ESN: true, Key: []byte("0123456789abcdef0123456789abcdefsalt")}}, nil
	case "bridge":
		return nil, cnm.Errorf(cnm.Invalid, "network bridge is not encrypted")
	}
	return nil, cnm.Errorf(cnm.NotFound, "network %s not found", network)
}

func (m *memory) Doctor() []node.Check {
	return []node.Check{{Name: "user namespaces", Status: node.OK, Found: "allowed"}, {Name: "tun", Status: node.Fail, Found: "mode 0600", Advice: "chmod 0666 /dev/net/tun"}}
}

func (m *memory) Trace(_ context.Context, o node.TraceOptions) ([]node.TraceStep, error) {
	return []node.TraceStep{{Step: "view", Result: fmt.Sprintf("%d bytes from %s", len(o.Frame), o.Port)}}, nil
}

// Capture yields a block and then nothing until it is closed.
func (m *memory) Capture(_ context.Context, o node.CaptureOptions) (io.ReadCloser, error) {
	if o.Filter == "bad" {
		return nil, cnm.Errorf(cnm.Invalid, "filter: unknown word %q", o.Filter)
	}
	m.mu.Lock()
	m.captured = o
	m.mu.Unlock()
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, "block") }()
	return r, nil
}
