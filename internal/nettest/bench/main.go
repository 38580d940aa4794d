// Command bench measures weft beside other switches and beside other overlays, and
// writes a table of each: the kernel's bridge, Open vSwitch's userspace datapath and
// vde_switch; the kernel's vxlan device with and without offloads and Open vSwitch's
// userspace tunnels.
//
// The contestants of a table are set up at the same time and measured in turn, round
// after round, so that what else the machine does falls on all alike; a figure is the
// median of the rounds, a ratio the median of the rounds' ratios. iperf3 makes
// the traffic. weft runs as an ordinary user, the others need root. Everything
// made is taken down again, and only processes started here are ended.
//
// Beside them a simulation of whole clusters is run, in a time of its own.
//
// The tables replace what stands between markers in docs/benchmarks.md; the
// figures of every round go to docs/benchmarks.json, those of the simulation to
// docs/simulation.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var errInterrupted = errors.New("interrupted, nothing written")

// options are the flags.
type options struct {
	rounds  int
	seconds int
	binary  string
	dir     string // where the results go
	only    string
	user    string
	daemon  string
	stages  bool
	sizes   string // of simulated clusters
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == pingPong {
		os.Exit(pingPongMain(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == connections {
		os.Exit(connectionsMain(os.Args[2:]))
	}
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of every measurement")
	flag.IntVar(&o.seconds, "seconds", 5, "seconds of every transfer")
	flag.StringVar(&o.binary, "weft", "bin/weft", "weft's binary")
	flag.StringVar(&o.dir, "out", "docs", "directory of benchmarks.md and benchmarks.json")
	flag.StringVar(&o.only, "only", "", "comma-separated contestants to measure, of any table: kernel,ovs,vde,weft,kernel-vxlan,kernel-vxlan-off,ovs-vxlan,weft-overlay,wireguard-go,nebula,weft-clear,weft-encrypted; and swarm, simulation (default all)")
	flag.StringVar(&o.user, "user", "wefttest", "ordinary user that weft runs as")
	flag.StringVar(&o.daemon, "daemon", "", "further flags of weft's daemons, separated by spaces")
	flag.BoolVar(&o.stages, "stages", true, "run the Go benchmarks of each stage as well")
	flag.StringVar(&o.sizes, "simulate", "50x5,150x5,500x5,50x50,100x50", "clusters to simulate: nodes x networks of each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.only == simulated {
		return simulate(ctx, o)
	}
	if os.Getuid() != 0 {
		return errors.New("the other switches need root to be set up; run this as root (weft itself then runs as the ordinary user " + o.user + ")")
	}
	if o.rounds < 1 || o.seconds < 1 {
		return errors.New("-rounds and -seconds must be at least 1")
	}
	begin := time.Now()
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	r := newResults(o, b.suites)
	for _, s := range b.suites {
		if err := b.take(ctx, s, r); ctx.Err() != nil {
			return errors.Join(errInterrupted, err)
		} else if err != nil {
			return err
		}
	}
	if o.wants(swarmPart) {
		if err := b.swarm(ctx, r); err != nil {
			b.progress("  failed: %v", err)
		}
	}
	if o.stages {
		b.progress("Go benchmarks of each stage")
		if err := r.runStages(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	r.Took = time.Since(begin).Round(time.Second).String()
	b.progress("done in %s", r.Took)
	if err := r.write(o.dir); err != nil {
		return err
	}
	fmt.Println(r.markdown())
	if o.wants(simulated) {
		return simulate(ctx, o)
	}
	return nil
}

// simulated is the simulation's name among the contestants.
const simulated = "simulation"

func simulate(ctx context.Context, o options) error {
	s, err := runSimulation(ctx, o.sizes)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	fmt.Println(s.markdown())
	return s.write(o.dir)
}

// wants reports whether a contestant is to be measured.
func (o options) wants(name string) bool {
	if o.only == "" {
		return true
	}
	for _, n := range strings.Split(o.only, ",") {
		if strings.TrimSpace(n) == name {
			return true
		}
	}
	return false
}
