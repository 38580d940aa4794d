package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"strings"
	"time"
)

// How the tour pings, and how long what is under way may take to arrive.
const (
	pingInterval = 20 * time.Millisecond
	pingTimeout  = 400 * time.Millisecond
	settle       = 150 * time.Millisecond
)

// Options of a tour.
type Options struct {
	// Exe is the weft binary, run as daemon and in sandboxes; empty: this one.
	Exe string
	// InProcess takes the in-process hosts without asking the kernel.
	InProcess bool
}

// Run takes the tour and returns the exit code: 0 only if every step held.
func Run(ctx context.Context, o Options, out io.Writer) int {
	dir, err := os.MkdirTemp(base(), "weft-demo-")
	if err != nil {
		fmt.Fprintf(out, "demo: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	s, err := open(ctx, o, dir, out)
	if err != nil {
		fmt.Fprintf(out, "demo: %v\n", err)
		return 1
	}
	return take(ctx, &tour{stage: s, dir: dir, out: out, limit: limit, hashed: 64 << 20, timed: 512 << 20})
}

// base returns where to make the tour's directory: empty for the usual place,
// unless that makes the paths of sockets too long (107 bytes, unix(7)).
func base() string {
	if runtime.GOOS == "linux" && len(os.TempDir()) > 32 {
		return "/tmp"
	}
	return ""
}

// take takes the tour, takes the stage down and returns the exit code.
func take(ctx context.Context, t *tour) int {
	fmt.Fprintf(t.out, "The tour of weft, with %s.\n", t.label())
	all := steps()
	if runtime.GOOS == "linux" {
		all = append(all, waySteps()...)
		all = append(all, nodeSteps()...)
	} else {
		fmt.Fprintln(t.out, "The chapters of the way out and of three nodes are left out: an uplink and an overlay's sockets need Linux.")
	}
	if _, ok := t.stage.(swarmer); ok {
		all = append(all, swarmSteps()...)
	} else {
		fmt.Fprintln(t.out, "The chapter of a swarm is left out: its nodes are daemons, with real sandboxes.")
	}
	held := t.run(ctx, all)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	failed := held != len(all)
	if err := errors.Join(t.outside.close(), t.swarm.close(bye), t.chapter.close(bye), t.stage.close(bye)); err != nil {
		fmt.Fprintf(t.out, "\ndemo: taking everything down: %v\n", err)
		failed = true
	}
	fmt.Fprintf(t.out, "\ndemo: %d of %d hold, %s\n", held, len(all), t.label())
	if failed {
		return 1
	}
	return 0
}

// open returns real sandboxes, or in-process hosts where the kernel refuses.
func open(ctx context.Context, o Options, dir string, out io.Writer) (stage, error) {
	if o.InProcess {
		return newInProcess()
	}
	if runtime.GOOS != "linux" {
		fmt.Fprintf(out, "Sandboxes need Linux, and this is %s. The tour uses in-process hosts instead.\n", runtime.GOOS)
		return newInProcess()
	}
	s, err := openSandboxes(ctx, o.Exe, dir, out)
	var no *refusal
	if errors.As(err, &no) {
		fmt.Fprintf(out, "This kernel does not allow sandboxes:\n\n%s\nThe tour uses in-process hosts instead: the same switch, but userspace TCP/IP stacks for hosts.\n", no)
		return newInProcess()
	}
	return s, err
}

// lines yields the lines of a text, none for an empty one.
func lines(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for l := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
			if l != "" && !yield(l) {
				return
			}
		}
	}
}
