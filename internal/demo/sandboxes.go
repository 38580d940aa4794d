package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weft/internal/api"
	"weft/internal/nettool"
	"weft/internal/node"
)

// sandboxes is the stage of real hosts: a daemon of the tour's own, with data,
// socket and sandboxes in its own directory, and the commands a user would type,
// which are printed. Counters and captures come over the API.
type sandboxes struct {
	exe    string
	dir    string
	prompt string   // before the commands that are printed
	flags  []string // of the daemon, besides those that keep it to dir
	host   string   // of the daemon
	data   string   // its data directory
	env    []string
	out    io.Writer
	daemon *exec.Cmd
	log    *os.File
	exited <-chan struct{} // closed when the daemon has ended
	client *api.Client
	names  []string // sandboxes to take down
	nets   []string // networks to take down
}

// A refusal is what the kernel does not allow, and how to mend it.
type refusal struct{ checks []api.Check }

func (r *refusal) Error() string {
	var b strings.Builder
	for _, c := range r.checks {
		fmt.Fprintf(&b, "  %s: %s\n    → %s\n", c.Name, c.Found, c.Advice)
	}
	return b.String()
}

// openSandboxes starts the daemon in dir and tries a sandbox. The error is a
// *refusal if there can be none and the doctor says why: what is not the kernel's
// doing is for the tour's steps to show.
func openSandboxes(ctx context.Context, exe, dir string, out io.Writer) (stage, error) {
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	s, err := newSandboxes(exe, dir, out)
	if err != nil {
		return nil, err
	}
	s.flags = []string{"--host-loopback"}
	checks, err := s.launch(ctx)
	if err == nil {
		if _, no := s.quiet(ctx, "run", "--rm", "--network", "bridge", "--", s.exe, "version"); no != nil {
			err = refusalOf(checks)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// newSandboxes makes a stage whose daemon, not started yet, keeps to dir.
func newSandboxes(exe, dir string, out io.Writer) (*sandboxes, error) {
	s := &sandboxes{exe: exe, dir: dir, prompt: "$", out: out, host: "unix://" + filepath.Join(dir, "weft.sock"), data: filepath.Join(dir, "data", "weft")}
	s.env = append(os.Environ(), "WEFT_HOST="+s.host, "XDG_RUNTIME_DIR="+dir, "XDG_DATA_HOME="+filepath.Join(dir, "data"))
	var err error
	if s.client, err = api.NewClient(s.host); err != nil {
		return nil, err
	}
	s.log, err = os.Create(filepath.Join(dir, "daemon.log"))
	return s, err
}

// launch starts the daemon, waits until it answers and returns its doctor's
// findings.
func (s *sandboxes) launch(ctx context.Context) ([]api.Check, error) {
	s.daemon = exec.Command(s.exe, append([]string{"daemon", "--host", s.host, "--data-dir", s.data}, s.flags...)...)
	s.daemon.Env, s.daemon.Stdout, s.daemon.Stderr = s.env, s.log, s.log
	if err := s.daemon.Start(); err != nil {
		return nil, fmt.Errorf("start a daemon: %w", err)
	}
	exited := make(chan struct{})
	s.exited = exited
	daemon := s.daemon
	go func() { _ = daemon.Wait(); close(exited) }() // ends with the daemon, which close stops
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		checks, err := s.client.Doctor(ctx)
		if err == nil {
			return checks, nil
		}
		select {
		case <-s.exited:
			log, _ := os.ReadFile(s.log.Name())
			return nil, fmt.Errorf("the daemon ended (%v): %s", s.daemon.ProcessState, bytes.TrimSpace(log))
		case <-ctx.Done():
			return nil, fmt.Errorf("the daemon does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// refusalOf returns the failed checks of what a sandbox cannot do without.
func refusalOf(checks []api.Check) error {
	var r refusal
	for _, c := range checks {
		name := strings.ToLower(c.Name)
		if c.Status == node.Fail && (strings.Contains(name, "namespace") || strings.Contains(name, "tun")) {
			r.checks = append(r.checks, c)
		}
	}
	if len(r.checks) > 0 {
		return &r
	}
	return nil
}

func (s *sandboxes) label() string { return "real sandboxes" }

// weft prints and runs one command and returns its output. An exit code that is
// not 0 is an error.
func (s *sandboxes) weft(ctx context.Context, args ...string) (string, error) {
	shown := strings.ReplaceAll(strings.Join(args, " "), s.exe, "weft")
	fmt.Fprintf(s.out, "    %s weft %s\n", s.prompt, shown)
	return s.quiet(ctx, args...)
}

func (s *sandboxes) quiet(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.exe, args...)
	cmd.Env = s.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

// tool runs one of weft's tools in a sandbox.
func (s *sandboxes) tool(ctx context.Context, host string, args ...string) (string, error) {
	return s.weft(ctx, append([]string{"exec", host, s.exe, "tool"}, args...)...)
}

func (s *sandboxes) network(ctx context.Context, name string, subnet netip.Prefix) error {
	_, err := s.weft(ctx, "network", "create", "--subnet", subnet.String(), name)
	if err == nil {
		s.nets = append(s.nets, name)
	}
	return err
}

func (s *sandboxes) start(ctx context.Context, host, network string) error {
	s.names = append(s.names, host) // before: it may be made though the command fails
	_, err := s.weft(ctx, "run", "-d", "--name", host, "--network", network, "--", s.exe, "tool", "serve")
	return err
}

func (s *sandboxes) connect(ctx context.Context, network, host string) error {
	_, err := s.weft(ctx, "network", "connect", network, host)
	return err
}

func (s *sandboxes) disconnect(ctx context.Context, network, host string) error {
	_, err := s.weft(ctx, "network", "disconnect", network, host)
	return err
}

// links reads what `weft tool links` prints: name mtu N [mac M] addresses.
func (s *sandboxes) links(ctx context.Context, host string) ([]link, error) {
	text, err := s.quiet(ctx, "exec", host, s.exe, "tool", "links")
	if err != nil {
		return nil, err
	}
	var ls []link
	for line := range lines(text) {
		words := strings.Fields(line)
		l := link{name: words[0]}
		for i, w := range words {
			if w == "mac" && i+1 < len(words) {
				l.mac = words[i+1]
			}
			if p, err := netip.ParsePrefix(w); err == nil {
				l.addrs = append(l.addrs, p)
			}
		}
		if l.name != "lo" {
			ls = append(ls, l)
		}
	}
	return ls, nil
}

func (s *sandboxes) ping(ctx context.Context, host string, to netip.Addr, count int) (r nettool.PingResult, err error) {
	text, err := s.tool(ctx, host, "ping", "-c", strconv.Itoa(count), "-i", pingInterval.String(), "-W", pingTimeout.String(), to.String())
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(text)
	if m == nil {
		return r, errors.Join(fmt.Errorf("ping said %q", text), err)
	}
	r.Sent, _ = strconv.Atoi(m[1])
	r.Received, _ = strconv.Atoi(m[2])
	for _, m := range regexp.MustCompile(`time=([0-9.]+) ms`).FindAllStringSubmatch(text, -1) {
		ms, _ := strconv.ParseFloat(m[1], 64)
		r.RTTs = append(r.RTTs, time.Duration(ms*float64(time.Millisecond)))
	}
	if len(r.RTTs) != r.Received {
		return r, fmt.Errorf("ping said %q", text)
	}
	return r, nil // no answer is an answer here
}

func (s *sandboxes) send(ctx context.Context, host string, to netip.Addr, n uint64, verify bool) (t nettool.Transfer, err error) {
	args := []string{"send", "-m", strconv.FormatUint(n>>20, 10)}
	if !verify {
		args = append(args, "-fast")
	}
	text, err := s.tool(ctx, host, append(args, to.String())...)
	if err != nil {
		return t, err
	}
	m := regexp.MustCompile(`sent \d+ MB in ([0-9.]+) s: [0-9.]+ Gbit/s(?:, sha256 ([0-9a-f]+))?`).FindStringSubmatch(text)
	if m == nil || verify != (m[2] != "") {
		return t, fmt.Errorf("send said %q", text)
	}
	seconds, err := strconv.ParseFloat(m[1], 64)
	t.Bytes, t.Took = n, time.Duration(seconds*float64(time.Second))
	for i := 0; i+1 < len(m[2]); i += 2 {
		b, _ := strconv.ParseUint(m[2][i:i+2], 16, 8)
		t.Sum[i/2] = byte(b)
	}
	return t, err
}

func (s *sandboxes) forge(ctx context.Context, host string, src, dst netip.Addr, count int) error {
	_, err := s.tool(ctx, host, "forge", "-c", strconv.Itoa(count), src.String(), dst.String())
	return err
}

func (s *sandboxes) drops(ctx context.Context, host string) (map[string]uint64, error) {
	ports, err := s.client.Stats(ctx)
	if err != nil {
		return nil, err
	}
	sum := map[string]uint64{}
	for _, p := range ports {
		if p.Sandbox == host {
			for r, n := range p.Drops {
				sum[r] += n
			}
		}
	}
	return sum, nil
}

func (s *sandboxes) capture(ctx context.Context, host, filter, file string, during func() error) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Capture(ctx, api.CaptureOptions{Port: host, Filter: filter})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, stream)
		done <- err
	}()
	err = during()
	time.Sleep(settle)
	_ = stream.Close() // ends the capture: the copy's error says no more
	<-done
	return err
}

// close removes the sandboxes and networks and stops the daemon. Sandboxes
// outlive a daemon: one that has ended early, as by Ctrl-C, is started again.
func (s *sandboxes) close(ctx context.Context) error {
	err := s.remove(ctx)
	if err != nil && s.ended(limit/4) {
		if _, err = s.launch(ctx); err == nil {
			err = s.remove(ctx)
		}
	}
	_ = s.client.Close()
	if !s.ended(0) {
		_ = s.daemon.Process.Signal(os.Interrupt)
		if !s.ended(limit / 2) {
			err = errors.Join(err, errors.New("the daemon did not stop and was killed"), s.daemon.Process.Kill())
			<-s.exited
		}
	}
	return errors.Join(err, s.log.Close())
}

// remove removes what the tour made.
func (s *sandboxes) remove(ctx context.Context) error {
	if len(s.names) > 0 {
		if _, err := s.quiet(ctx, append([]string{"rm", "-f"}, s.names...)...); err != nil {
			return err
		}
		s.names = nil
	}
	if len(s.nets) > 0 {
		if _, err := s.quiet(ctx, append([]string{"network", "rm"}, s.nets...)...); err != nil {
			return err
		}
		s.nets = nil
	}
	return nil
}

// ended reports whether our daemon has ended, or does so within d.
func (s *sandboxes) ended(d time.Duration) bool {
	if s.exited == nil {
		return true // never started
	}
	select {
	case <-s.exited:
		return true
	default:
	}
	select {
	case <-s.exited:
		return true
	case <-time.After(d):
		return false
	}
}
