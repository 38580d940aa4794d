package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"weft/arp"
	"weft/internal/capture"
	"weft/internal/nettool"
)

// astray is what is wrong with a pretended swarm.
type astray struct {
	alone     bool // nodes that join are not among the members
	late      bool // a network is known only where it was made
	shuffled  bool // addresses are not given in turn
	untold    bool // nobody is told where the others' hosts are
	deaf      bool // no pings are answered
	searching bool // who pings asks the other nodes by ARP first
	silent    bool // the switch does not answer ARP
	dropping  bool // tunnels drop as unknown
	immortal  bool // kill does nothing
	gone      bool // resume does nothing
	nostalgic bool // what has ended is still known
	attached  bool // a tunnel to a node stays that has no host on the network
	leaking   bool // what is sent to nobody goes to other nodes
	careless  bool // and is not counted
	nodes     int  // that can be made; 0: all
	sealed
}

// A pretence is a stage whose swarm is a few variables.
type pretence struct {
	stage
	astray
	ports   swarmPorts
	members []bool
	made    int // where the network was, counted from 1
	hosts   []bool
	dead    []bool
	began   []bool
	log     []crossed
	lost    uint64
	strongbox
}

// crossed is a frame that went between two nodes, or on the port of one.
type crossed struct {
	a, b int
	data []byte
}

func (p *pretence) swarmNode(_ context.Context, i int, ports swarmPorts) (swarmNode, error) {
	if p.astray.nodes != 0 && i >= p.astray.nodes {
		return nil, errors.New("no more nodes")
	}
	p.ports = ports
	p.members, p.hosts, p.safes, p.dead, p.began = append(p.members, false), append(p.hosts, false), append(p.safes, false), append(p.dead, false), append(p.began, false)
	return &pretender{pretence: p, i: i}, nil
}

// A pretender is the i-th node.
type pretender struct {
	*pretence
	i int
}

func pretendedAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 2)}) }

// host returns which host an address or a name is of.
func (p *pretender) host(of func(i int) bool) int {
	for i := range p.hosts {
		if of(i) {
			return i
		}
	}
	return -1
}

func (p *pretender) found(context.Context) (string, error) {
	p.members[p.i] = true
	return "token", nil
}

func (p *pretender) join(_ context.Context, token string, manager netip.AddrPort) error {
	if token != "token" || manager != netip.AddrPortFrom(underlay(0), p.ports.control) {
		return errors.New("refused")
	}
	p.members[p.i] = !p.alone
	return nil
}

func (p *pretender) roster(context.Context) (string, error) {
	table := "HOSTNAME STATUS\n"
	for i, in := range p.members {
		if in {
			table += fmt.Sprintf("node%d Ready %s\n", i+1, map[bool]string{true: "Leader"}[i == 0])
		}
	}
	return table, nil
}

func (p *pretender) mesh(context.Context, string) error { p.made = p.i + 1; return nil }

func (p *pretender) knows(_ context.Context, network string) bool {
	made := map[string]int{mesh: p.made, vault: p.vaulted}[network]
	return made != 0 && (!p.late || made == p.i+1)
}

func (p *pretender) start(_ context.Context, _, network string) error {
	map[string][]bool{mesh: p.hosts, vault: p.safes}[network][p.i] = true
	return nil
}

func (p *pretender) links(_ context.Context, host string) ([]link, error) {
	if host == safe(p.i) && p.safes[p.i] {
		return []link{{name: "eth0", addrs: []netip.Prefix{netip.PrefixFrom(safeAddr(p.i), 24)}}}, nil
	}
	if host != swarmHost(p.i) || !p.hosts[p.i] {
		return nil, errors.New("no such host")
	}
	a := pretendedAddr(p.i)
	if p.shuffled {
		a = pretendedAddr(len(p.hosts) - 1 - p.i)
	}
	return []link{{name: "eth0", addrs: []netip.Prefix{netip.PrefixFrom(a, 24)}}}, nil
}

func (p *pretender) located(context.Context, string) (map[netip.Addr]string, error) {
	c, table := swarmChapter{ports: p.ports}, map[netip.Addr]string{}
	for i, there := range p.hosts {
		if i != p.i && !p.untold && (there || p.nostalgic) {
			table[pretendedAddr(i)] = c.tunnel(i)
		}
	}
	return table, nil
}

func (p *pretender) tunnels(_ context.Context, network string) (map[netip.AddrPort]map[string]uint64, error) {
	if network == vault {
		return p.vaultTunnels(), nil
	}
	c, table := swarmChapter{ports: p.ports}, map[netip.AddrPort]map[string]uint64{}
	for i, there := range p.hosts {
		if i != p.i && (there || p.attached) {
			table[c.vtep(i)] = map[string]uint64{"split-horizon": 2}
			if p.dropping {
				table[c.vtep(i)]["unknown-mac"] = 1
			}
		}
	}
	return table, nil
}

func (p *pretender) ping(_ context.Context, _ string, addr netip.Addr, count int) (nettool.PingResult, error) {
	if to := p.host(func(i int) bool { return safeAddr(i) == addr }); to >= 0 {
		return p.pingSafe(to, count)
	}
	to, r := p.pretender(addr), nettool.PingResult{Sent: count}
	p.ask(to)
	for i := range count {
		echo := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, nettool.ForgedEcho(pretendedAddr(p.i), addr, uint16(i))...)
		switch {
		case p.hosts[to]:
			p.log = append(p.log, crossed{p.i, to, echo})
			if p.dead[to] && !p.hushed {
				p.wire(to, p.ports.dataPath, append([]byte{8, 0, 0, 0, 0, 16, 0, 0}, echo...))
			}
		case p.leaking:
			p.log = append(p.log, crossed{p.i, 2, echo})
		case !p.careless:
			p.lost++
		}
		if p.hosts[to] && !p.dead[to] && !p.deaf {
			p.log = append(p.log, crossed{to, p.i, echo})
			r.Received, r.RTTs = r.Received+1, append(r.RTTs, time.Millisecond)
		}
	}
	return r, nil
}

func (p *pretender) pretender(addr netip.Addr) int {
	return p.host(func(i int) bool { return pretendedAddr(i) == addr })
}

// ask logs what a host asks by ARP before it pings, on its port, and the answer.
func (p *pretender) ask(to int) {
	q := question(net.HardwareAddr{2, 0, 0, 0, 0, 1}, pretendedAddr(p.i), pretendedAddr(to))[vxlanLen:]
	p.log = append(p.log, crossed{p.i, p.i, q})
	if p.searching {
		p.log = append(p.log, crossed{p.i, to, q})
	}
	if !p.silent {
		answer := bytes.Clone(q)
		answer[21] = arp.OpReply
		p.log = append(p.log, crossed{p.i, p.i, answer})
	}
}

func (p *pretender) capture(_ context.Context, port, _, file string, during func() error) error {
	c := swarmChapter{ports: p.ports}
	other := p.host(func(i int) bool { return port == c.tunnel(i) || port == swarmHost(i) })
	from := len(p.log)
	err := during()
	f, err2 := os.Create(file)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	defer f.Close()
	w := capture.NewPcapWriter(f)
	for _, x := range p.log[from:] {
		if x.a == p.i && x.b == other || x.a == other && x.b == p.i {
			err = errors.Join(err, w.Write(0, x.data, len(x.data)))
		}
	}
	return errors.Join(err, w.Flush())
}

func (p *pretender) drops(context.Context, string) (map[string]uint64, error) {
	return map[string]uint64{"unknown-mac": p.lost}, nil
}

func (p *pretender) end(context.Context, string) error { p.hosts[p.i] = false; return nil }
func (p *pretender) kill(context.Context) error        { p.dead[p.i] = !p.immortal; return nil }
func (p *pretender) resume(context.Context) error      { p.dead[p.i] = p.gone; return nil }
func (p *pretender) close(context.Context) error       { return nil }

// TestSwarmNoticed breaks one thing of a swarm at a time: the steps that show it must
// fail, and only they.
func TestSwarmNoticed(t *testing.T) {
	const (
		swarm, up, known, all, back, ends = "A swarm of three nodes", "A network for all of them", "Known before the first packet",
			"Everybody reaches everybody", "A node is killed and comes back", "A sandbox goes"
		keys, ears, anew = "An encrypted network beside it", "What an eavesdropper gets", "New keys while a transfer runs"
	)
	for _, c := range []struct {
		name string
		astray
		fail []string
	}{
		{"nothing", astray{}, nil},
		{"alone", astray{alone: true}, []string{swarm}},
		{"few", astray{nodes: 1}, []string{swarm, up, known, all, keys, ears, anew, back, ends}},
		{"late", astray{late: true}, []string{up, known, all, keys, ears, anew, back, ends}},
		{"shuffled", astray{shuffled: true}, []string{up, known, all, ears, back, ends}},
		{"untold", astray{untold: true}, []string{known}},
		{"deaf", astray{deaf: true}, []string{all, keys, ears, back}},
		{"searching", astray{searching: true}, []string{all}},
		{"silent", astray{silent: true}, []string{all}},
		{"dropping", astray{dropping: true}, []string{all}},
		{"immortal", astray{immortal: true}, []string{ears, back}},
		{"gone", astray{gone: true}, []string{ears, back}},
		{"nostalgic", astray{nostalgic: true}, []string{ends}},
		{"attached", astray{attached: true}, []string{ends}},
		{"leaking", astray{leaking: true}, []string{ends}},
		{"careless", astray{careless: true}, []string{ends}},
		{"unready", astray{sealed: sealed{unready: true}}, []string{keys}},
		{"unsealed", astray{sealed: sealed{unsealed: true}}, []string{keys}},
		{"plain", astray{sealed: sealed{plain: true}}, []string{ears}},
		{"mute", astray{sealed: sealed{mute: true}}, []string{ears}},
		{"hushed", astray{sealed: sealed{hushed: true}}, []string{ears}},
		{"other keys", astray{sealed: sealed{otherKeys: true}}, []string{ears}},
		{"stuck", astray{sealed: sealed{stuck: true}}, []string{anew}},
		{"lossy", astray{sealed: sealed{lossy: true}}, []string{anew}},
		{"keyless", astray{sealed: sealed{keyless: true}}, []string{anew}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			tr := &tour{stage: &pretence{astray: c.astray}, dir: t.TempDir(), out: &out, limit: limit / 20, hashed: 1 << 20}
			held := tr.run(context.Background(), swarmSteps())
			compare(t, out.String(), held, len(swarmSteps()), c.fail)
		})
	}
}

func TestCrossing(t *testing.T) {
	var c crossing
	who := question(net.HardwareAddr{2, 0, 0, 0, 0, 1}, pretendedAddr(0), pretendedAddr(1))[vxlanLen:]
	unicast := bytes.Clone(who)
	copy(unicast, []byte{2, 0, 0, 0, 0, 2})
	igmp := append([]byte{1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 224, 0, 0, 1}, 0x11, 0, 0, 0, 0, 0, 0, 0)
	echo := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, nettool.ForgedEcho(pretendedAddr(0), pretendedAddr(1), 1)...)
	for _, data := range [][]byte{who, unicast, igmp, echo, echo, echo, make([]byte, 60)} {
		if err := c.count(&capture.Packet{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if c != (crossing{echoes: 3, searches: 2, queries: 1, others: 1}) || !strings.HasPrefix(c.String(), "3 echoes, 2 searches") {
		t.Errorf("%+v, %s", c, c.String())
	}
}
