package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// weftNode is a daemon of an ordinary user.
type weftNode struct {
	dir    string // the user's: binary, socket, state
	source string // the binary as built
	user   string
	in     []string // what runs the daemon elsewhere: ip netns exec NS
	flags  []string // of the daemon
	caps   string   // capabilities of the daemon beyond an ordinary user's, as +net_raw

	uid, gid int
	daemon   *exec.Cmd
	log      bytes.Buffer
}

const weftNet = "bench"

// socket is where the daemon's API listens.
func (w *weftNode) socket() string { return w.dir + "/run/weft.sock" }

// command is weft's own command line, as the ordinary user.
func (w *weftNode) command(ctx context.Context, args ...string) *exec.Cmd {
	return w.program(ctx, nil, args...)
}

func (w *weftNode) program(ctx context.Context, in []string, args ...string) *exec.Cmd {
	// setpriv, like ip netns exec, becomes the program it runs: signals and
	// process number are its.
	argv := append(in[:len(in):len(in)], "setpriv", "--reuid", strconv.Itoa(w.uid), "--regid", strconv.Itoa(w.gid), "--init-groups")
	if w.caps != "" {
		argv = append(argv, "--inh-caps", w.caps, "--ambient-caps", w.caps)
	}
	argv = append(append(argv, filepath.Join(w.dir, "weft")), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = w.dir
	cmd.Env = []string{
		"HOME=" + w.dir, "PATH=" + os.Getenv("PATH"), "USER=" + w.user,
		"XDG_RUNTIME_DIR=" + w.dir + "/run", "XDG_DATA_HOME=" + w.dir + "/data",
		"WEFT_HOST=unix://" + w.socket(),
	}
	return cmd
}

// tell runs a command of weft to its end and returns what it printed.
func (w *weftNode) tell(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := w.command(ctx, args...).Output()
	if err != nil {
		return "", fmt.Errorf("weft %s: %w", strings.Join(args, " "), exitText(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// start brings the daemon up and waits until it answers.
func (w *weftNode) start(ctx context.Context) error {
	if err := w.home(); err != nil {
		return err
	}
	return w.restart(ctx)
}

// restart brings the daemon up again, with what it had.
func (w *weftNode) restart(ctx context.Context) error {
	w.daemon = w.program(context.Background(), w.in, append([]string{"daemon", "--data-dir", w.dir + "/data"}, w.flags...)...)
	w.daemon.Stdout, w.daemon.Stderr = &w.log, &w.log
	if err := w.daemon.Start(); err != nil {
		return err
	}
	up := func() bool { _, err := w.tell(ctx, "network", "ls"); return err == nil }
	if err := waitFor(up); err != nil {
		return fmt.Errorf("daemon: %w: %s", err, w.log.String())
	}
	return nil
}

// sandbox starts a host, and inside is a command on it.
func (w *weftNode) sandbox(ctx context.Context, name, addr string) error {
	_, err := w.tell(ctx, "run", "-d", "--name", name, "--network", weftNet+",ip="+addr, "--", "sleep", "86400")
	return err
}

func (w *weftNode) inside(ctx context.Context, name string, argv ...string) *exec.Cmd {
	return w.command(ctx, append([]string{"exec", name, "--"}, argv...)...)
}

// home makes the directories that are the user's own.
func (w *weftNode) home() error {
	u, err := user.Lookup(w.user)
	if err != nil {
		return fmt.Errorf("%w (internal/nettest/setup.sh adds the user)", err)
	}
	if w.uid, err = strconv.Atoi(u.Uid); err != nil {
		return err
	}
	if w.gid, err = strconv.Atoi(u.Gid); err != nil {
		return err
	}
	for _, dir := range []string{w.dir, w.dir + "/run", w.dir + "/data"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, w.uid, w.gid); err != nil {
			return err
		}
	}
	return copyProgram(filepath.Join(w.dir, "weft"), w.source)
}

// resident returns the daemon's resident memory in MiB.
func (w *weftNode) resident() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.daemon.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", w.daemon.Process.Pid)
}

// down removes the sandboxes, which would outlive their daemon, and ends it.
func (w *weftNode) down() error {
	if w.daemon == nil || w.daemon.Process == nil {
		return nil
	}
	ctx := context.Background()
	ids, err := w.tell(ctx, "ps", "-aq")
	if err == nil && ids != "" {
		_, err = w.tell(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	}
	end(w.daemon)
	return err
}

// weft is one daemon with two sandboxes on one network.
type weft struct {
	weftNode
	idle float64 // MiB resident before anything was made
}

const weftSubnet = "10.98.4"

func (*weft) name() string         { return "weft" }
func (*weft) title() string        { return "weft" }
func (*weft) addr(host int) string { return fmt.Sprintf("%s.%d", weftSubnet, host+2) }

func (w *weft) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	return w.inside(ctx, fmt.Sprintf("bench%d", host), argv...)
}

func (w *weft) setUp(ctx context.Context) error {
	if err := w.start(ctx); err != nil {
		return err
	}
	time.Sleep(time.Second)
	var err error
	if w.idle, err = w.resident(); err != nil {
		return err
	}
	if _, err := w.tell(ctx, "network", "create", "--subnet", weftSubnet+".0/24", weftNet); err != nil {
		return err
	}
	for host := range 2 {
		if err := w.sandbox(ctx, fmt.Sprintf("bench%d", host), w.addr(host)); err != nil {
			return err
		}
	}
	return nil
}
