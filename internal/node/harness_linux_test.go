package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// TestMain makes this test's binary the agent, what runs in sandboxes, and a
// daemon that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case sandbox.AgentArg:
			os.Exit(sandbox.Main(os.Args[2:]))
		case "inside":
			os.Exit(inside(os.Args[2:]))
		case "daemon":
			os.Exit(daemon(os.Args[2:]))
		}
	}
	dir, err := prepareHelper()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// helperEnv names the binary that becomes agents and what runs in sandboxes.
const helperEnv = "WEFT_NODE_HELPER"

// prepareHelper sees to a helper without the race detector, with which each of
// hundreds of starts would take half a second. dir is to be removed at the end.
func prepareHelper() (dir string, err error) {
	if os.Getenv(helperEnv) != "" {
		return "", nil
	}
	exe, err := os.Executable()
	if raceEnabled && err == nil {
		if dir, err = os.MkdirTemp("", "weft-node-helper-"); err != nil {
			return "", err
		}
		exe = filepath.Join(dir, "helper")
		if out, err := exec.Command("go", "test", "-c", "-o", exe, ".").CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build the helper: %w\n%s", err, out)
		}
	}
	if err == nil {
		err = os.Setenv(helperEnv, exe)
	}
	return dir, err
}

// inside is what tests run in sandboxes: no program of the host is needed.
func inside(args []string) int {
	var err error
	switch args[0] {
	case "sleep":
		time.Sleep(time.Minute)
	case "echo":
		fmt.Println(strings.Join(args[1:], " "))
	case "fail":
		fmt.Fprintln(os.Stderr, "failing")
		return 7
	case "cat":
		_, err = io.Copy(os.Stdout, os.Stdin)
	case "print":
		var b []byte
		if b, err = os.ReadFile(args[1]); err == nil {
			os.Stdout.Write(b)
		}
	case "serve":
		err = serve(args[1])
	case "visit":
		err = visit(args[1], args[2], args[3])
	case "sendone":
		err = sendOne(args[1])
	case "packets":
		err = servePackets(args[1])
	case "ask":
		err = ask(args[1], args[2])
	case "ping":
		err = ping(args[1])
	case "send":
		err = send(args[1], args[2])
	case "receive":
		err = receive(args[1])
	case "flap":
		err = flap(args[1])
	case "unlink":
		err = unlink(args[1])
	case "echoes":
		err = echoes(args[1])
	case "route":
		err = defaultBy(args[1], args[2])
	case "hostile":
		err = hostile(args[1])
	case "lookup":
		err = lookup(args[1], args[2])
	case "lookups":
		lookups(args[1])
	case "servename":
		err = serveName(args[1], args[2], args[3])
	case "links":
		var list []net.Interface
		list, err = net.Interfaces()
		for _, i := range list {
			addrs, _ := i.Addrs()
			fmt.Println(i.Name, i.HardwareAddr, i.MTU, addrs)
		}
	default:
		err = fmt.Errorf("unknown: %q", args)
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// serve answers every line of every connection with the client's address.
func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for in := bufio.NewScanner(c); in.Scan(); {
				fmt.Fprintf(c, "%s from %s\n", in.Text(), c.RemoteAddr().(*net.TCPAddr).IP)
			}
		}()
	}
}

// ask sends one line to a server and prints its answer.
func ask(addr, line string) error {
	var c net.Conn
	var err error
	for range 30 {
		if c, err = net.DialTimeout("tcp", addr, 400*time.Millisecond); err == nil || !strings.Contains(err.Error(), "refused") {
			break
		}
		time.Sleep(20 * time.Millisecond) // it is not listening yet
	}
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintln(c, line)
	answer, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(answer)
	return err
}

// ping sends one echo request (RFC 792, RFC 4443) and waits for its reply.
func ping(to string) error {
	addr := netip.MustParseAddr(to)
	proto, request, reply := "ip4:icmp", byte(8), byte(0)
	if addr.Is6() {
		proto, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	c, err := net.Dial(proto, to)
	if err != nil {
		return err
	}
	defer c.Close()
	m := []byte{request, 0, 0, 0, 0x12, 0x34, 0, 1}
	if addr.Is4() {
		sum := uint32(m[0])<<8 + 0x1234 + 1
		binary.BigEndian.PutUint16(m[2:], ^uint16(sum))
	}
	for range 3 {
		if _, err := c.Write(m); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		b := make([]byte, 1500)
		for {
			n, _, err := c.(*net.IPConn).ReadFrom(b) // Read would leave the IPv4 header in front
			if err != nil {
				break
			}
			if n >= 8 && b[0] == reply && slices.Equal(b[4:8], m[4:]) {
				fmt.Println("reply from", to)
				return nil
			}
		}
	}
	return fmt.Errorf("no reply from %s", to)
}

// needSandboxes skips where the kernel or the host refuses sandboxes.
func needSandboxes(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this host has no usable TUN device: %v", err)
	}
	f.Close()
}

// testConfig is a node's in directories of the test's own.
func testConfig(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Exe: os.Getenv(helperEnv), Version: "test", Workers: 2,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("log: %s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// openNode opens a node and, when the test ends, removes every sandbox, closes
// it and checks that nothing is left.
func openNode(t *testing.T, c Config) *Node {
	t.Helper()
	watchLeaks(t)
	return openBeside(t, c)
}

// watchLeaks checks at the test's end that nothing is left.
func watchLeaks(t *testing.T) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	t.Cleanup(func() { checkLeaks(t, goroutines, files) })
}

// openBeside is openNode for one of several nodes, whose leaks are not told apart.
func openBeside(t *testing.T, c Config) *Node {
	t.Helper()
	needSandboxes(t)
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n.own.stopping() {
			return // the test has closed it, and opened its successor
		}
		for _, s := range n.Sandboxes() {
			if err := n.SandboxRemove(context.Background(), s.ID, true); err != nil && !errors.Is(err, cnm.NotFound) {
				t.Errorf("remove %s: %v", s.Spec.Name, err)
			}
		}
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			out = append(out, to)
		}
	}
	return out
}

// checkLeaks compares goroutines and descriptors with those of before.
func checkLeaks(t *testing.T, goroutines int, files []string) {
	t.Helper()
	var now int
	var open []string
	for range 100 {
		now, open = runtime.NumGoroutine(), openFiles(t)
		if now <= goroutines && len(open) <= len(files) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	if now > goroutines {
		b := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", now, goroutines, b[:runtime.Stack(b, true)])
	}
	if len(open) > len(files) {
		t.Errorf("descriptors now %q, before %q", open, files)
	}
}

// program is a command line that runs a function of inside.
func program(args ...string) []string {
	return append([]string{os.Getenv(helperEnv), "inside"}, args...)
}

// on lists networks to be joined.
func on(networks ...string) (out []cnm.NetworkJoin) {
	for _, nw := range networks {
		out = append(out, cnm.NetworkJoin{Network: nw})
	}
	return out
}

func mustNetwork(t *testing.T, n *Node, nw cnm.Network) string {
	t.Helper()
	if !nw.EnableIPv6 {
		nw.EnableIPv4 = true
	}
	id, _, err := n.NetworkCreate(t.Context(), nw)
	if err != nil {
		t.Fatalf("create network %s: %v", nw.Name, err)
	}
	return id
}

// mustRun creates and starts a sandbox.
func mustRun(t *testing.T, n *Node, spec cnm.SandboxSpec) cnm.Sandbox {
	t.Helper()
	if len(spec.Cmd) == 0 {
		spec.Cmd = program("sleep")
	}
	id, _, err := n.SandboxCreate(t.Context(), spec)
	if err != nil {
		t.Fatalf("create %s: %v", spec.Name, err)
	}
	if err := n.SandboxStart(t.Context(), id); err != nil {
		t.Fatalf("start %s: %v", spec.Name, err)
	}
	return mustFind(t, n, id)
}

func mustFind(t *testing.T, n *Node, ref string) cnm.Sandbox {
	t.Helper()
	sb, err := n.Sandbox(ref)
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// kill kills a sandbox's agent.
func kill(t *testing.T, n *Node, id string) {
	t.Helper()
	n.mu.Lock()
	b := n.boxes[id]
	n.mu.Unlock()
	a, done := n.lend(b)
	defer done()
	if err := a.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}

// execute runs a function of inside in a sandbox and returns its output and exit
// code.
func execute(t *testing.T, n *Node, ref string, args ...string) (string, int) {
	t.Helper()
	id, err := n.ExecCreate(t.Context(), ref, ExecSpec{Cmd: program(args...), Stdout: true, Stderr: true})
	if err != nil {
		t.Fatalf("exec in %s: %v", ref, err)
	}
	s, err := n.ExecStart(t.Context(), id)
	if err != nil {
		t.Fatalf("exec in %s: %v", ref, err)
	}
	out, _ := readAll(s)
	s.Close()
	info, err := n.ExecInspect(id)
	if err != nil || info.ExitCode == nil {
		t.Fatalf("exec in %s: %+v, %v", ref, info, err)
	}
	return out, *info.ExitCode
}

// readAll reads a stream to its end.
func readAll(s Stream) (string, error) {
	var b strings.Builder
	for {
		_, data, err := s.Next()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		b.Write(data)
	}
}

// reach checks that one sandbox does, or does not, reach a server.
func reach(t *testing.T, n *Node, from string, to netip.Addr, want bool) {
	t.Helper()
	out, code := execute(t, n, from, "ask", netip.AddrPortFrom(to, 7000).String(), "hello")
	if ok := code == 0 && strings.HasPrefix(out, "hello from "); ok != want {
		t.Errorf("%s reaches %s: %v, want %v: exit %d, %q", from, to, ok, want, code, out)
	}
}

func addr4(sb cnm.Sandbox, network string) netip.Addr {
	for _, e := range sb.Endpoints {
		if e.Network == network {
			return e.IPv4.Addr()
		}
	}
	return netip.Addr{}
}
