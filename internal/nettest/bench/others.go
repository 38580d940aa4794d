package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// spaces are the two network namespaces of a contestant that needs root.
type spaces struct {
	prefix string // of their names
	subnet string // the first three bytes of their addresses
}

func (s *spaces) ns(host int) string   { return fmt.Sprintf("%s%d", s.prefix, host) }
func (s *spaces) addr(host int) string { return fmt.Sprintf("%s.%d", s.subnet, host+2) }

func (s *spaces) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", s.ns(host)}, argv...)...)
}

func (s *spaces) add(ctx context.Context) error {
	for host := range 2 {
		if err := each(ctx, "ip netns add "+s.ns(host), "ip -n "+s.ns(host)+" link set lo up"); err != nil {
			return err
		}
	}
	return nil
}

// address gives an interface inside a host its address and sets it up.
func (s *spaces) address(ctx context.Context, host int, dev string) error {
	return each(ctx,
		fmt.Sprintf("ip -n %s addr add %s/24 dev %s", s.ns(host), s.addr(host), dev),
		fmt.Sprintf("ip -n %s link set %s up", s.ns(host), dev))
}

func (s *spaces) remove() error {
	var errs []error
	for host := range 2 {
		if _, err := os.Stat("/run/netns/" + s.ns(host)); err == nil {
			errs = append(errs, do(context.Background(), "ip netns del "+s.ns(host)))
		}
	}
	return errors.Join(errs...)
}

// kernel is the kernel's bridge with a veth pair to each host, in a namespace of
// its own.
type kernel struct{ spaces }

func (*kernel) name() string  { return "kernel" }
func (*kernel) title() string { return "kernel bridge + veth" }

func (k *kernel) setUp(ctx context.Context) error {
	k.spaces = spaces{prefix: "wbk", subnet: "10.98.1"}
	if err := k.add(ctx); err != nil {
		return err
	}
	err := each(ctx, "ip netns add wbkbridge", "ip -n wbkbridge link add name bridge0 type bridge", "ip -n wbkbridge link set bridge0 up")
	for host := 0; host < 2 && err == nil; host++ {
		err = each(ctx,
			fmt.Sprintf("ip -n wbkbridge link add name port%d type veth peer name eth0 netns %s", host, k.ns(host)),
			fmt.Sprintf("ip -n wbkbridge link set port%d master bridge0", host),
			fmt.Sprintf("ip -n wbkbridge link set port%d up", host))
		if err == nil {
			err = k.address(ctx, host, "eth0")
		}
	}
	return err
}

func (k *kernel) down() error {
	err := k.remove()
	if _, e := os.Stat("/run/netns/wbkbridge"); e == nil {
		err = errors.Join(err, do(context.Background(), "ip netns del wbkbridge"))
	}
	return err
}

// ovs is Open vSwitch's userspace datapath with a TAP to each host.
type ovs struct {
	spaces
	dir          string
	db, switchd  *exec.Cmd
	databaseSock string
}

func (*ovs) name() string  { return "ovs" }
func (*ovs) title() string { return "Open vSwitch netdev + TAP" }

func (o *ovs) setUp(ctx context.Context) error {
	o.spaces = spaces{prefix: "wbo", subnet: "10.98.2"}
	o.databaseSock = filepath.Join(o.dir, "db.sock")
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	if err := o.add(ctx); err != nil {
		return err
	}
	if err := o.start(ctx); err != nil {
		return err
	}
	if err := o.vsctl(ctx, "add-br wbobr -- set bridge wbobr datapath_type=netdev"); err != nil {
		return err
	}
	for host := range 2 {
		dev := fmt.Sprintf("wbotap%d", host)
		if err := o.vsctl(ctx, fmt.Sprintf("add-port wbobr %s -- set Interface %s type=tap", dev, dev)); err != nil {
			return err
		}
		if err := do(ctx, fmt.Sprintf("ip link set %s netns %s", dev, o.ns(host))); err != nil {
			return err
		}
		if err := o.address(ctx, host, dev); err != nil {
			return err
		}
	}
	return nil
}

// start brings up the database and the switch, with all their files in o.dir.
func (o *ovs) start(ctx context.Context) error {
	conf := filepath.Join(o.dir, "conf.db")
	if err := do(ctx, "ovsdb-tool create "+conf+" /usr/share/openvswitch/vswitch.ovsschema"); err != nil {
		return err
	}
	o.db = o.program("ovsdb-server", conf, "--remote=punix:"+o.databaseSock, "--unixctl="+o.dir+"/db.ctl", "-vconsole:off")
	if err := o.db.Start(); err != nil {
		return err
	}
	var err error
	for range 50 {
		if err = o.vsctl(ctx, "--no-wait init"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	o.switchd = o.program("ovs-vswitchd", "unix:"+o.databaseSock, "--unixctl="+o.dir+"/switch.ctl", "--disable-system", "-vconsole:off")
	return o.switchd.Start()
}

func (o *ovs) program(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_LOGDIR="+o.dir)
	return cmd
}

func (o *ovs) vsctl(ctx context.Context, args string) error {
	return do(ctx, "ovs-vsctl --timeout=10 --db=unix:"+o.databaseSock+" "+args)
}

func (o *ovs) down() error {
	if o.switchd != nil {
		o.vsctl(context.Background(), "del-br wbobr")
	}
	end(o.switchd)
	end(o.db)
	return o.remove()
}

// vde is vde_switch with a vde_plug2tap for each host.
type vde struct {
	spaces
	dir      string
	programs []*exec.Cmd
}

func (*vde) name() string  { return "vde" }
func (*vde) title() string { return "vde_switch + TAP" }

func (v *vde) setUp(ctx context.Context) error {
	v.spaces = spaces{prefix: "wbv", subnet: "10.98.3"}
	if err := v.add(ctx); err != nil {
		return err
	}
	if err := v.start("vde_switch", "-s", v.dir); err != nil {
		return err
	}
	if err := waitFor(func() bool { _, err := os.Stat(v.dir + "/ctl"); return err == nil }); err != nil {
		return fmt.Errorf("vde_switch: %w", err)
	}
	for host := range 2 {
		dev := fmt.Sprintf("wbvtap%d", host)
		if err := v.start("ip", "netns", "exec", v.ns(host), "vde_plug2tap", "-s", v.dir, dev); err != nil {
			return err
		}
		found := func() bool { return do(ctx, "ip -n "+v.ns(host)+" link show "+dev) == nil }
		if err := waitFor(found); err != nil {
			return fmt.Errorf("vde_plug2tap: %w", err)
		}
		if err := v.address(ctx, host, dev); err != nil {
			return err
		}
	}
	return nil
}

// start starts a program whose standard input stays open: vde_switch ends when
// its console does.
func (v *vde) start(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	v.programs = append(v.programs, cmd)
	return cmd.Start()
}

func (v *vde) down() error {
	for i := len(v.programs) - 1; i >= 0; i-- {
		end(v.programs[i])
	}
	return v.remove()
}

func waitFor(what func() bool) error {
	for range 50 {
		if what() {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("not ready after 5 seconds")
}
