package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// vswitchd is one Open vSwitch with a database of its own and all its files in dir.
type vswitchd struct {
	dir         string
	in          []string // what runs it elsewhere: ip netns exec NS
	db, switchd *exec.Cmd
}

// start brings up the database and the switch.
func (o *vswitchd) start(ctx context.Context) error {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	conf := filepath.Join(o.dir, "conf.db")
	if err := do(ctx, "ovsdb-tool create "+conf+" /usr/share/openvswitch/vswitch.ovsschema"); err != nil {
		return err
	}
	o.db = o.program("ovsdb-server", conf, "--remote=punix:"+o.dir+"/db.sock", "--unixctl="+o.dir+"/db.ctl", "-vconsole:off")
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
	o.switchd = o.program("ovs-vswitchd", "unix:"+o.dir+"/db.sock", "--unixctl="+o.dir+"/switch.ctl", "--disable-system", "-vconsole:off")
	return o.switchd.Start()
}

func (o *vswitchd) program(argv ...string) *exec.Cmd {
	argv = append(o.in[:len(o.in):len(o.in)], argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_LOGDIR="+o.dir)
	return cmd
}

func (o *vswitchd) vsctl(ctx context.Context, args string) error {
	return do(ctx, "ovs-vsctl --timeout=10 --db=unix:"+o.dir+"/db.sock "+args)
}

// stop removes the bridges, whose devices would stay, and ends both programs.
func (o *vswitchd) stop(bridges ...string) {
	if o.switchd != nil {
		for _, br := range bridges {
			o.vsctl(context.Background(), "--if-exists del-br "+br)
		}
	}
	end(o.switchd)
	end(o.db)
}

// plug gives a bridge a TAP, which becomes the interface of a host.
func (o *vswitchd) plug(ctx context.Context, bridge, dev string, hosts *spaces, host int) error {
	if err := o.vsctl(ctx, fmt.Sprintf("add-port %s %s -- set Interface %s type=tap", bridge, dev, dev)); err != nil {
		return err
	}
	from := "ip"
	if len(o.in) > 0 {
		from = "ip -n " + o.in[len(o.in)-1]
	}
	if err := do(ctx, fmt.Sprintf("%s link set %s netns %s", from, dev, hosts.ns(host))); err != nil {
		return err
	}
	return hosts.address(ctx, host, dev)
}

// ovs is Open vSwitch's userspace datapath with a TAP to each host.
type ovs struct {
	spaces
	vswitchd
}

func (*ovs) name() string  { return "ovs" }
func (*ovs) title() string { return "Open vSwitch netdev" }

func (o *ovs) setUp(ctx context.Context) error {
	o.spaces = spaces{prefix: "wbo", subnet: "10.98.2"}
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
		if err := o.plug(ctx, "wbobr", fmt.Sprintf("wbotap%d", host), &o.spaces, host); err != nil {
			return err
		}
	}
	return nil
}

func (o *ovs) down() error {
	o.stop("wbobr")
	return o.remove()
}
