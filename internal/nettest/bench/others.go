package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// spaces are two network namespaces: the hosts of a contestant that needs root, or
// the nodes of an overlay.
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

// vde is vde_switch with a vde_plug2tap for each host.
type vde struct {
	spaces
	dir      string
	programs []*exec.Cmd
}

func (*vde) name() string  { return "vde" }
func (*vde) title() string { return "vde_switch" }

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
