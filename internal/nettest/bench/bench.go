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
	title() string // the head of its column
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
	dir    string // scratch, readable by everyone
	helper string // this program, for use on the hosts
	suites []*suite
	weft   *weft // among the switches, to be measured alone as well
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
	b.suites = []*suite{b.switches(), b.overlays(), b.encrypted(), b.waysOut(), b.packetUplinks()}
	known := []string{swarmPart, simulated}
	wanted := 0
	if o.wants(swarmPart) {
		wanted++
	}
	for _, s := range b.suites {
		wanted += len(s.wanted(o))
		for _, c := range s.contestants {
			known = append(known, c.name())
		}
	}
	if wanted == 0 {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("no contestant named %q; there are %s", o.only, strings.Join(known, ", "))
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

// take sets a suite's contestants up, measures them in turn, round after round,
// and takes them down, whatever state they are in.
func (b *bench) take(ctx context.Context, s *suite, r *results) (err error) {
	wanted := s.wanted(b.options)
	defer func() {
		for _, c := range wanted {
			if e := c.down(); e != nil {
				err = errors.Join(err, fmt.Errorf("take down %s: %w", c.title(), e))
			}
		}
	}()
	for _, c := range wanted {
		b.progress("setting up %s", c.title())
		if err := c.setUp(ctx); err != nil {
			return fmt.Errorf("set up %s: %w", c.title(), err)
		}
		if err := reachable(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.title(), err)
		}
	}
	for round := range b.rounds {
		for _, row := range s.rows {
			for _, c := range wanted {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				b.progress("round %d of %d: %s, %s", round+1, b.rounds, row.title, c.name())
				b.measure(ctx, r, s, row, c)
			}
		}
	}
	r.derive(s)
	if s.after != nil {
		s.after(ctx, r)
	}
	return ctx.Err()
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

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %s\n", fmt.Sprintf(format, args...))
}

// waitFor waits until something is so.
func waitFor(what func() bool) error {
	for range 50 {
		if what() {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("not ready after 5 seconds")
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
