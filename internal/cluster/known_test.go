//go:build linux && soak && !race

package cluster

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/cluster/gossip"
	"weft/internal/cnm"
	"weft/internal/frame"
	"weft/vswitch"
)

// knownCluster is what both processes of TestSoakKnown know.
type knownCluster struct {
	Key      []byte
	Join     netip.AddrPort
	View     *View
	Networks []string
	Rows     int // that the other nodes have on all networks
}

// knownEnv tells the process that is measured where it finds what it is to know.
const knownEnv = "WEFT_KNOWN"

// knownRows is how many endpoints the others have.
const knownRows = 20_000

// TestKnown measures a process that knows 20,000 endpoints: other nodes, in another
// process, gossip with it over loopback sockets; it has every network, has decoded
// all endpoints, and its switch has the tunnels, forwarding entries and neighbours
// that lead to them. As the others live in real time, two processors can be a hundred.
func TestSoakKnown(t *testing.T) {
	if what := os.Getenv(knownEnv); what != "" {
		know(t, what)
		return
	}
	const others = 100
	c := knownCluster{Key: newGossipKey(), View: &View{Cluster: newID()}}
	for range simNetworks {
		c.Networks = append(c.Networks, cnm.NewID())
	}
	var nodes []*gossip.Gossip
	for i := range others {
		n := Node{ID: newID(), Hostname: fmt.Sprint("host-", i), Gossip: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 7946)}
		n.DataPath = []netip.AddrPort{netip.AddrPortFrom(n.Gossip.Addr(), 4789)}
		c.View.Nodes = append(c.View.Nodes, n)
		g, err := gossip.Start(gossip.Config{NodeID: n.ID, Name: n.Hostname, Keys: [][]byte{c.Key}, Bind: n.Gossip,
			Bootstrap: func() []netip.AddrPort { return []netip.AddrPort{c.View.Nodes[0].Gossip} }})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, g)
		time.Sleep(20 * time.Millisecond)
	}
	c.Join = nodes[0].Addr()
	var wg sync.WaitGroup
	for i, g := range nodes { // slowly: it is no measure of how fast they are
		for k := range 5 {
			network := c.Networks[(i+k*k*7+k*10)%simNetworks]
			wg.Go(func() { g.Attach(t.Context(), network) })
			for r := range knownRows / 5 / others {
				c.Rows++
				putKnown(t, g, network, c.View.Nodes[i], byte(k), byte(r))
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	wg.Wait()
	slices.SortFunc(c.View.Nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSoakKnown$", "-test.v", "-test.timeout=10m")
	path := t.TempDir() + "/cluster.json"
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	child.Env = append(os.Environ(), knownEnv+`={"file":"`+path+`"}`)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Run(); err != nil {
		t.Error(err)
	}
	for _, g := range nodes {
		wg.Go(func() { g.Close() })
	}
	wg.Wait()
}

func putKnown(t *testing.T, g *gossip.Gossip, network string, n Node, k, r byte) {
	a := n.Gossip.Addr().As4()
	name := fmt.Sprintf("service-%d.%s", r, n.ID[:8])
	id := cnm.NewID()
	e := Endpoint{ID: id, Sandbox: name, Names: []string{name, "service"}, MAC: frame.MAC{2, 0x42, a[2], a[3], k, r}, VTEP: n.DataPath[0],
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, a[2]<<4 | k, a[3], r + 1}), netip.AddrFrom16([16]byte{0xfe, 0x80, 10: a[2], 11: 0xff, 12: 0xfe, 13: a[3], 14: k, 15: r + 1})}}
	b, err := e.encode()
	if err == nil {
		for try := 0; ; try++ {
			if err = g.Put(network, id, b); err == nil || try == 100 {
				break
			}
			time.Sleep(10 * time.Millisecond) // being attached
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// know is the process that is measured.
func know(t *testing.T, env string) {
	var at struct{ File string }
	b, err := []byte(nil), json.Unmarshal([]byte(env), &at)
	if err == nil {
		b, err = os.ReadFile(at.File)
	}
	var c knownCluster
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	woken := make(chan struct{}, 1)
	m := newMember(Config{Changed: func() { wake(woken) }}, memberFile{ID: newID()}, nil, c.View)
	m.gossip, err = gossip.Start(gossip.Config{NodeID: m.id, Keys: [][]byte{c.Key}, Bind: netip.MustParseAddrPort("127.2.0.1:7946"),
		Bootstrap: func() []netip.AddrPort { return []netip.AddrPort{c.Join} }, Changed: m.forget, MembersChanged: func() { m.forget("") }})
	if err != nil {
		t.Fatal(err)
	}
	for len(m.gossip.Members()) <= len(c.View.Nodes) {
		time.Sleep(100 * time.Millisecond)
	}
	for _, network := range c.Networks {
		if err := m.gossip.Attach(t.Context(), network); err != nil {
			t.Error(err)
		}
	}
	p := newPicture()
	for end := time.Now().Add(3 * time.Minute); ; {
		<-woken
		rows := 0
		for _, network := range c.Networks {
			rows += p.follow(t, network, m.Neighbours(network))
		}
		if rows == c.Rows {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d rows", rows, c.Rows)
		}
		time.Sleep(200 * time.Millisecond)
	}
	gossips := resident(t)
	time.Sleep(time.Minute) // of rest, in which the collector gives back what it will
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	fmt.Printf("BenchmarkKnown/%d 1 %d rows %d tunnels %.1f empty-RSS-MiB %.1f full-RSS-MiB %.1f rest-RSS-MiB %.1f heap-MiB\n",
		len(c.View.Nodes), c.Rows, p.tunnels, before, gossips, resident(t), float64(mem.HeapAlloc)/(1<<20))
	if got := resident(t); got > 150 {
		t.Errorf("%.0f MiB are resident, at most 150 are allowed", got)
	}
	runtime.KeepAlive(p)
	if err := m.gossip.Close(); err != nil {
		t.Error(err)
	}
}

// A picture is what a node's switch knows of the others.
type picture struct {
	sw      *vswitch.Switch
	domains map[string]*vswitch.Domain
	tunnel  map[string]map[netip.Addr]*vswitch.Port // by network and node
	known   map[string]map[string]bool              // by network and endpoint
	tunnels int
}

func newPicture() *picture {
	return &picture{vswitch.New(vswitch.Config{Workers: 2}), map[string]*vswitch.Domain{}, map[string]map[netip.Addr]*vswitch.Port{}, map[string]map[string]bool{}, 0}
}

// follow brings a network up to date and returns how many endpoints it has.
func (p *picture) follow(t *testing.T, network string, ns *Neighbours) int {
	dom, err := p.domains[network], error(nil)
	if dom == nil {
		if dom, err = p.sw.AddDomain(vswitch.DomainConfig{Name: network, Snooping: true, DropUnknownMAC: true, DropUnknownNeighbour: true}); err != nil {
			t.Fatal(err)
		}
		p.domains[network], p.tunnel[network], p.known[network] = dom, map[netip.Addr]*vswitch.Port{}, map[string]bool{}
	}
	for _, n := range ns.Nodes {
		if a := n.DataPath[0].Addr(); p.tunnel[network][a] == nil {
			port, err := p.sw.AddPort(vswitch.PortConfig{Name: network + "@" + a.String(), Domain: dom, Horizon: 1, MTU: 1450, MaxMACs: -1}, nowhere{})
			if err != nil {
				t.Fatal(err)
			}
			p.tunnel[network][a] = port
			p.tunnels++
		}
	}
	for _, e := range ns.Endpoints {
		port := p.tunnel[network][e.VTEP.Addr()]
		if p.known[network][e.ID] || port == nil {
			continue
		}
		p.known[network][e.ID] = true
		if !dom.SetStatic(0, e.MAC, port) {
			t.Fatalf("no room for %s", hex.EncodeToString(e.MAC[:]))
		}
		for _, a := range e.Addrs {
			if err := dom.Neighbours().SetStatic(a, e.MAC); err != nil {
				t.Fatal(err)
			}
		}
	}
	return len(p.known[network])
}

// nowhere is a tunnel's queue to nobody.
type nowhere struct{}

func (nowhere) ReadBatch(*frame.Batch) (int, error)       { return 0, nil }
func (nowhere) WriteBatch(fs []*frame.Frame) (int, error) { return len(fs), nil }
func (nowhere) Caps() frame.Caps                          { return 0 }

// resident returns what this process has in memory, in MiB.
func resident(t *testing.T) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		var kb float64
		if n, _ := fmt.Sscanf(scan.Text(), "VmRSS: %f kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
