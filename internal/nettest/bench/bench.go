package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A contestant is two hosts and a switch between them.
type contestant interface {
	name() string  // in -only and JSON
	title() string // in the table
	// setUp makes the switch and both hosts, down removes them; down is
	// called also after setUp failed halfway.
	setUp(ctx context.Context) error
	down() error
	// on returns a command that runs on host 0 or 1.
	on(ctx context.Context, host int, argv ...string) *exec.Cmd
	// addr is the address of a host.
	addr(host int) string
}

// A bench holds what is under measurement.
type bench struct {
	options
	dir         string // scratch, readable by everyone
	helper      string // this program, for use on the hosts
	contestants []contestant
	weft        *weft // among the contestants, nil if not measured
}

func newBench(o options) (*bench, error) {
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, helper: filepath.Join(dir, "bench")}
	if err := errors.Join(os.Chmod(dir, 0o755), copyProgram(b.helper, "/proc/self/exe")); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	all := []contestant{&kernel{}, &ovs{dir: filepath.Join(dir, "ovs")}, &vde{dir: filepath.Join(dir, "vde")}}
	for _, c := range all {
		if o.wants(c.name()) {
			b.contestants = append(b.contestants, c)
		}
	}
	if o.wants("weft") {
		b.weft = &weft{dir: filepath.Join(dir, "weft"), source: o.binary, user: o.user, flags: strings.Fields(o.daemon)}
		b.contestants = append(b.contestants, b.weft)
	}
	if len(b.contestants) == 0 {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("no contestant named %q; there are kernel, ovs, vde and weft", o.only)
	}
	return b, nil
}

func copyProgram(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// setUp makes everything, and checks that each pair of hosts can talk.
func (b *bench) setUp(ctx context.Context) error {
	for _, c := range b.contestants {
		b.progress("setting up %s", c.title())
		if err := c.setUp(ctx); err != nil {
			return fmt.Errorf("set up %s: %w", c.title(), err)
		}
		if err := reachable(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.title(), err)
		}
	}
	return nil
}

// reachable waits until host 0 can ping host 1.
func reachable(ctx context.Context, c contestant) error {
	var err error
	for range 20 {
		if err = c.on(ctx, 0, "ping", "-c1", "-W1", c.addr(1)).Run(); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("host 1 does not answer to ping: %w", err)
}

// close takes everything down, whatever state it is in.
func (b *bench) close() error {
	var errs []error
	for _, c := range b.contestants {
		if err := c.down(); err != nil {
			errs = append(errs, fmt.Errorf("take down %s: %w", c.title(), err))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %s\n", fmt.Sprintf(format, args...))
}

// do runs a command line and returns an error that shows its output.
func do(ctx context.Context, line string) error {
	argv := strings.Fields(line)
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// each runs command lines until one fails.
func each(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		if err := do(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// end asks a process that was started here to end, and makes it after a while.
func end(cmd *exec.Cmd) {
	if cmd == nil || cmd.Process == nil {
		return
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		cmd.Process.Kill()
		<-done
	}
}
