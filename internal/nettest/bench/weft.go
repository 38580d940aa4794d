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

// weft is a daemon of an ordinary user, with two sandboxes on one network.
type weft struct {
	dir    string // the user's: binary, socket, state
	source string // the binary as built
	user   string
	flags  []string // of the daemon

	uid, gid int
	daemon   *exec.Cmd
	log      bytes.Buffer
	idle     float64 // MiB resident before anything was made
}

const (
	weftNet    = "bench"
	weftSubnet = "10.98.4"
)

func (*weft) name() string         { return "weft" }
func (*weft) title() string        { return "weft, rootless" }
func (*weft) addr(host int) string { return fmt.Sprintf("%s.%d", weftSubnet, host+2) }
func (*weft) sandbox(host int) string {
	return fmt.Sprintf("bench%d", host)
}

func (w *weft) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	return w.command(ctx, append([]string{"exec", w.sandbox(host), "--"}, argv...)...)
}

// command is weft's own command line, as the ordinary user.
func (w *weft) command(ctx context.Context, args ...string) *exec.Cmd {
	// setpriv becomes the program it runs: signals and process number are its.
	argv := []string{"--reuid", strconv.Itoa(w.uid), "--regid", strconv.Itoa(w.gid), "--init-groups", filepath.Join(w.dir, "weft")}
	cmd := exec.CommandContext(ctx, "setpriv", append(argv, args...)...)
	cmd.Dir = w.dir
	cmd.Env = []string{
		"HOME=" + w.dir, "PATH=" + os.Getenv("PATH"), "USER=" + w.user,
		"XDG_RUNTIME_DIR=" + w.dir + "/run", "XDG_DATA_HOME=" + w.dir + "/data",
		"WEFT_HOST=unix://" + w.dir + "/run/weft.sock",
	}
	return cmd
}

// tell runs a command of weft to its end and returns what it printed.
func (w *weft) tell(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := w.command(ctx, args...).Output()
	if err != nil {
		return "", fmt.Errorf("weft %s: %w", strings.Join(args, " "), exitText(err))
	}
	return strings.TrimSpace(string(out)), nil
}

func (w *weft) setUp(ctx context.Context) error {
	if err := w.home(); err != nil {
		return err
	}
	w.daemon = w.command(context.Background(), append([]string{"daemon", "--data-dir", w.dir + "/data"}, w.flags...)...)
	w.daemon.Stdout, w.daemon.Stderr = &w.log, &w.log
	if err := w.daemon.Start(); err != nil {
		return err
	}
	up := func() bool { _, err := w.tell(ctx, "network", "ls"); return err == nil }
	if err := waitFor(up); err != nil {
		return fmt.Errorf("daemon: %w: %s", err, w.log.String())
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
		net := fmt.Sprintf("%s,ip=%s", weftNet, w.addr(host))
		if _, err := w.tell(ctx, "run", "-d", "--name", w.sandbox(host), "--network", net, "--", "sleep", "86400"); err != nil {
			return err
		}
	}
	return nil
}

// home makes the directories that are the user's own.
func (w *weft) home() error {
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
func (w *weft) resident() (float64, error) {
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
func (w *weft) down() error {
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
