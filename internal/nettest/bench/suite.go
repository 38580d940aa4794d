package main

import (
	"context"
	"path/filepath"
	"strings"
)

// A suite is one table: contestants that are set up at the same time and measured
// in turn by the same rows.
type suite struct {
	name        string // in JSON
	title       string // over the rows
	contestants []contestant
	rows        []row
	own         string  // the contestant that is compared
	against     []rival // with these
	derived     []derived
	after       func(context.Context, *results) // measures own alone; may be nil
}

// A rival is a contestant that a ratio is given to.
type rival struct{ name, title string }

// A derived figure is how much more of another figure a contestant has than a
// certain one, round by round.
type derived struct {
	figure
	of   figure
	over string
}

// wanted returns the contestants to be measured.
func (s *suite) wanted(o options) (list []contestant) {
	for _, c := range s.contestants {
		if o.wants(c.name()) {
			list = append(list, c)
		}
	}
	return list
}

var (
	figTCP1 = figure{"tcp1", "TCP, 1 stream", "Gbit/s", 2, false}
	figCPU  = figure{"cpu", "CPU of the whole machine, TCP 1 stream", "s/GB", 2, true}
	figTCP4 = figure{"tcp4", "TCP, 4 streams", "Gbit/s", 2, false}
	figRTT  = figure{"rtt", "TCP ping-pong of 1 byte, median", "µs", 1, true}
)

// rowsWith returns the rows of a table whose datagrams have a size.
func rowsWith(size int, udp figure) []row {
	return []row{
		{"TCP, 1 stream", []figure{figTCP1, figCPU}, runTCP(1)},
		{"TCP, 4 streams", []figure{figTCP4}, runTCP(4)},
		{"UDP", []figure{udp}, runUDP(size)},
		{"ping-pong", []figure{figRTT}, runPingPong},
	}
}

// switches are two hosts on one machine.
func (b *bench) switches() *suite {
	s := &suite{
		name: "switches", title: "one switch",
		contestants: []contestant{&kernel{}, &ovs{vswitchd: vswitchd{dir: filepath.Join(b.dir, "ovs")}}, &vde{dir: filepath.Join(b.dir, "vde")}},
		rows:        rowsWith(1400, figure{"udp", "UDP 1400 B, received", "packets/s", 0, false}),
		own:         "weft", against: []rival{{"kernel", "kernel"}, {"ovs", "Open vSwitch"}},
	}
	w := &weft{weftNode: b.node("weft")}
	s.contestants = append(s.contestants, w)
	if b.wants(w.name()) {
		b.weft = w
		s.after = b.alone
	}
	return s
}

// overlays are two hosts on two nodes, which are joined by an underlay of MTU 1500.
func (b *bench) overlays() *suite {
	return &suite{
		name: "overlays", title: "overlay, MTU 1450 over 1500",
		contestants: []contestant{
			&kernelVXLAN{}, &kernelVXLAN{plain: true}, &ovsVXLAN{dir: filepath.Join(b.dir, "ovs-vxlan")},
			&weftOverlay{nodes: [2]weftNode{b.node("node0"), b.node("node1")}},
		},
		rows: rowsWith(1300, figure{"udp", "UDP 1300 B, received", "packets/s", 0, false}),
		own:  "weft-overlay",
		against: []rival{
			{"kernel-vxlan", "kernel, offloads on"}, {"kernel-vxlan-off", "kernel, offloads off"}, {"ovs-vxlan", "Open vSwitch"},
		},
		derived: []derived{{
			figure: figure{"rtt-added", "added round trip over kernel vxlan", "µs", 1, true}, of: figRTT, over: "kernel-vxlan",
		}},
	}
}

// node is a daemon of weft with a directory of its own.
func (b *bench) node(name string) weftNode {
	return weftNode{dir: filepath.Join(b.dir, name), source: b.binary, user: b.user, flags: strings.Fields(b.daemon)}
}
