package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// What all overlays are measured with.
const (
	overlayVNI = 4097
	overlayMTU = 1450
)

// join makes two namespaces the nodes of an overlay: a veth with an address of
// each, MTU 1500.
func (s *spaces) join(ctx context.Context) error {
	if err := s.add(ctx); err != nil {
		return err
	}
	return do(ctx, fmt.Sprintf("ip -n %s link add under0 type veth peer name under0 netns %s", s.ns(0), s.ns(1)))
}

// wire is join, with the addresses on the veth itself.
func (s *spaces) wire(ctx context.Context) error {
	if err := s.join(ctx); err != nil {
		return err
	}
	return errors.Join(s.address(ctx, 0, "under0"), s.address(ctx, 1, "under0"))
}

// kernelVXLAN is on each node a bridge with a vxlan device and a veth to the host,
// as container hosts have it.
type kernelVXLAN struct {
	spaces        // the hosts
	nodes  spaces // the machines
	plain  bool   // without offloads
}

func (k *kernelVXLAN) name() string {
	if k.plain {
		return "kernel-vxlan-off"
	}
	return "kernel-vxlan"
}

func (k *kernelVXLAN) title() string {
	if k.plain {
		return "kernel vxlan, tso/gso/gro off"
	}
	return "kernel vxlan"
}

func (k *kernelVXLAN) setUp(ctx context.Context) error {
	k.spaces, k.nodes = spaces{prefix: "wxkh", subnet: "10.98.5"}, spaces{prefix: "wxkn", subnet: "10.97.5"}
	if k.plain {
		k.spaces, k.nodes = spaces{prefix: "wxph", subnet: "10.98.6"}, spaces{prefix: "wxpn", subnet: "10.97.6"}
	}
	if err := errors.Join(k.add(ctx), k.nodes.wire(ctx)); err != nil {
		return err
	}
	for i := range 2 {
		if err := k.node(ctx, i); err != nil {
			return err
		}
		if k.plain {
			if err := k.unload(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *kernelVXLAN) node(ctx context.Context, i int) error {
	ip := "ip -n " + k.nodes.ns(i)
	err := each(ctx,
		ip+" link add name bridge0 type bridge",
		fmt.Sprintf("%s link add vxlan0 mtu %d type vxlan id %d local %s remote %s dstport 4789 udpcsum",
			ip, overlayMTU, overlayVNI, k.nodes.addr(i), k.nodes.addr(1-i)),
		fmt.Sprintf("%s link add name port0 mtu %d type veth peer name eth0 mtu %d netns %s", ip, overlayMTU, overlayMTU, k.ns(i)),
		ip+" link set vxlan0 master bridge0", ip+" link set port0 master bridge0",
		ip+" link set bridge0 up", ip+" link set vxlan0 up", ip+" link set port0 up")
	if err != nil {
		return err
	}
	return k.address(ctx, i, "eth0")
}

// unload switches segmentation and merging off wherever there is any.
func (k *kernelVXLAN) unload(ctx context.Context, i int) error {
	const off = " tso off gso off gro off"
	node, host := "ip netns exec "+k.nodes.ns(i)+" ethtool -K ", "ip netns exec "+k.ns(i)+" ethtool -K "
	return each(ctx, node+"under0"+off, node+"vxlan0"+off, node+"port0"+off, node+"bridge0"+off, host+"eth0"+off)
}

func (k *kernelVXLAN) down() error { return errors.Join(k.remove(), k.nodes.remove()) }

// ovsVXLAN is on each node an Open vSwitch whose userspace datapath does the
// tunnelling: a bridge with a TAP to the host and a VXLAN port, another that holds
// the underlay's veth and, on its internal port, the node's address.
type ovsVXLAN struct {
	spaces
	nodes spaces
	dir   string
	sw    [2]vswitchd
}

func (*ovsVXLAN) name() string  { return "ovs-vxlan" }
func (*ovsVXLAN) title() string { return "Open vSwitch netdev VXLAN" }

func (o *ovsVXLAN) setUp(ctx context.Context) error {
	o.spaces, o.nodes = spaces{prefix: "wxoh", subnet: "10.98.7"}, spaces{prefix: "wxon", subnet: "10.97.7"}
	if err := errors.Join(o.add(ctx), o.nodes.join(ctx)); err != nil {
		return err
	}
	for i := range 2 {
		if err := o.node(ctx, i); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	return nil
}

func (o *ovsVXLAN) node(ctx context.Context, i int) error {
	s := &o.sw[i]
	*s = vswitchd{dir: filepath.Join(o.dir, fmt.Sprint(i)), in: []string{"ip", "netns", "exec", o.nodes.ns(i)}}
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, args := range []string{
		"add-br wxunder -- set bridge wxunder datapath_type=netdev -- add-port wxunder under0",
		"add-br wxover -- set bridge wxover datapath_type=netdev",
		fmt.Sprintf("add-port wxover vxlan0 -- set Interface vxlan0 type=vxlan options:remote_ip=%s options:key=%d options:csum=true", o.nodes.addr(1-i), overlayVNI),
	} {
		if err := s.vsctl(ctx, args); err != nil {
			return err
		}
	}
	err := errors.Join(do(ctx, "ip -n "+o.nodes.ns(i)+" link set under0 up"), o.nodes.address(ctx, i, "wxunder"),
		do(ctx, fmt.Sprintf("ovs-appctl -t %s/switch.ctl ovs/route/add %s.0/24 wxunder", s.dir, o.nodes.subnet)),
		s.plug(ctx, "wxover", fmt.Sprintf("wxotap%d", i), &o.spaces, i))
	if err != nil {
		return err
	}
	return do(ctx, fmt.Sprintf("ip -n %s link set wxotap%d mtu %d", o.ns(i), i, overlayMTU))
}

func (o *ovsVXLAN) down() error {
	for i := range o.sw {
		o.sw[i].stop("wxover", "wxunder")
	}
	return errors.Join(o.remove(), o.nodes.remove())
}

// weftOverlay is on each node a daemon of the ordinary user, inside the node's
// network namespace, with one sandbox.
type weftOverlay struct {
	nodes     [2]weftNode
	under     spaces
	encrypted bool
	alias     string // in a table of its own; empty: weft-overlay
}

const overlaySubnet = "10.98.8"

func (w *weftOverlay) name() string {
	switch {
	case w.encrypted:
		return "weft-encrypted"
	case w.alias != "":
		return w.alias
	}
	return "weft-overlay"
}

func (w *weftOverlay) title() string {
	switch {
	case w.encrypted:
		return "weft, encrypted"
	case w.alias != "":
		return "weft, in clear"
	}
	return "weft"
}

func (*weftOverlay) addr(host int) string { return fmt.Sprintf("%s.%d", overlaySubnet, host*64+2) }

func (w *weftOverlay) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	return w.nodes[host].inside(ctx, "bench", argv...)
}

func (w *weftOverlay) setUp(ctx context.Context) error {
	w.under = spaces{prefix: "wxwn", subnet: "10.97.8"}
	if w.encrypted {
		w.under = spaces{prefix: "wxen", subnet: "10.97.11"}
	}
	if err := w.under.wire(ctx); err != nil {
		return err
	}
	peers := w.under.addr(0) + "," + w.under.addr(1)
	for i := range w.nodes {
		n := &w.nodes[i]
		n.in = []string{"ip", "netns", "exec", w.under.ns(i)}
		n.flags = append(n.flags, "--data-path-addr", w.under.addr(i))
		if err := n.start(ctx); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		args := []string{
			"network", "create", "-d", "overlay", "--subnet", overlaySubnet + ".0/24", "--ip-range", fmt.Sprintf("%s.%d/26", overlaySubnet, i*64),
			"-o", fmt.Sprint("weft.vni=", overlayVNI), "-o", "weft.peers=" + peers,
		}
		if w.encrypted {
			if err := n.writeSecret(); err != nil {
				return err
			}
			args = append(args, "-o", "encrypted", "-o", "weft.psk-file="+n.secretPath())
		}
		if _, err := n.tell(ctx, append(args, weftNet)...); err != nil {
			return err
		}
		if err := n.sandbox(ctx, "bench", w.addr(i)); err != nil {
			return err
		}
	}
	return nil
}

func (w *weftOverlay) down() error {
	return errors.Join(w.nodes[0].down(), w.nodes[1].down(), w.under.remove())
}
