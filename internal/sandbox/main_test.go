//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
)

const testDaemonArg = "sandbox-test-daemon"

// TestMain lets the test binary be the agent, as the real one is, and a daemon
// that a test can kill.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case AgentArg:
			code := Main(os.Args[2:])
			// Not os.Exit: the race detector sleeps for a second in it. What it
			// has found is in agent.err by now, where cleanUp looks.
			unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0)
		case testDaemonArg:
			os.Exit(testDaemon(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// bothTests run as whoever runs the tests and, when that is root, as an ordinary
// user as well.
var bothTests = []struct {
	name string
	run  func(t *testing.T)
}{
	{"lifecycle", testLifecycle},
	{"own files", testOwnFiles},
	{"exit codes", testExitCodes},
	{"start errors", testStartErrors},
	{"signals", testSignals},
	{"orphans are reaped", testOrphans},
	{"rest is killed", testRestKilled},
	{"attach with input", testAttachInput},
	{"attach before start misses nothing", testAttachAll},
	{"slow client loses nothing", testSlowClient},
	{"stalled client does not hold up the end", testStalledClient},
	{"lossy client is dropped", testLossyClient},
	{"client that leaves", testClientLeaves},
	{"input stays open", testInputStaysOpen},
	{"terminal", testTerminal},
	{"exec", testExec},
	{"exec with terminal", testExecTerminal},
	{"interfaces", testInterfaces},
	{"interface all or nothing", testInterfaceAtomic},
	{"default route", testDefaultRoute},
	{"names", testNames},
	{"names beside a server of its own", testNamesBeside},
	{"dial from inside", testDial},
	{"daemon killed", testDaemonKilled},
	{"root directory", testRootfs},
	{"root directory that cannot be written", testRootfsUnwritable},
	{"rights", testRights},
	{"sysctls", testSysctls},
	{"host network", testHostNetwork},
	{"network does not wait for a client", testNetworkEnds},
	{"garbage on the socket", testGarbage},
	{"agent killed while attached", testAgentKilled},
	{"directory in use", testDirInUse},
	{"single id", testSingleID},
	{"foreign by process", testForeignProcess},
}

func TestSandboxAsRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is not root; TestSandboxAsUser does the same as an ordinary user")
	}
	runBoth(t)
}

func TestSandboxAsUser(t *testing.T) { nettest.Unprivileged(t, runBoth) }

func runBoth(t *testing.T) {
	for _, tt := range bothTests {
		t.Run(tt.name, func(t *testing.T) {
			nettest.CheckLeaks(t)
			tt.run(t)
		})
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// launchTest launches a sandbox that is gone, with its directory, after the test.
func launchTest(t *testing.T, c Config) *Agent {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "sb")
	}
	if c.ID == "" {
		c.ID = "test"
	}
	a, err := Launch(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cleanUp(t, a) })
	return a
}

func cleanUp(t *testing.T, a *Agent) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := a.Kill(ctx); err != nil {
		t.Errorf("kill: %v", err)
	}
	if words := a.lastWords(); words != "" {
		t.Errorf("agent said%s", words)
	}
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := Remove(a.path); err != nil {
		t.Errorf("remove: %v", err)
	}
	if _, err := os.Stat(a.path); !os.IsNotExist(err) {
		entries, _ := os.ReadDir(a.path)
		t.Errorf("directory is left: %v %v", err, entries)
	}
}

func shell(script string) Process {
	return Process{Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + defaultPath}}
}

// runTest runs a script as main process and returns its output and exit status.
func runTest(t *testing.T, a *Agent, p Process) (stdout, stderr string, status ExitStatus) {
	t.Helper()
	ctx := testContext(t)
	at, err := a.Attach(ctx, AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := a.Start(ctx, p); err != nil {
		t.Fatal(err)
	}
	stdout, stderr = readAll(t, at)
	if status, err = a.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return stdout, stderr, status
}

func readAll(t *testing.T, at *Attachment) (stdout, stderr string) {
	t.Helper()
	var out [3]bytes.Buffer
	for {
		stream, data, err := at.Next()
		if errors.Is(err, io.EOF) {
			return out[Stdout].String(), out[Stderr].String()
		}
		if err != nil {
			t.Fatalf("attached: %v", err)
		}
		out[stream].Write(data)
	}
}

// inside runs a script as a further process and returns its output.
func inside(t *testing.T, a *Agent, script string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx := testContext(t)
	e, err := a.Exec(ctx, shell(script), Stdio{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := e.Wait(ctx); err != nil || status.Code != 0 {
		t.Fatalf("%s: %+v %v\n%s", script, status, err, out)
	}
	return string(out)
}

// startIdle starts a main process that stays.
func startIdle(t *testing.T, a *Agent) {
	t.Helper()
	if err := a.Start(testContext(t), shell("exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
}

type logEntry struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

func readLog(t *testing.T, path string) (entries []logEntry) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var e logEntry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		entries = append(entries, e)
	}
	return entries
}

func alive(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

// testDaemon launches a sandbox with an interface, says so and hangs: it is there
// to be killed.
func testDaemon(dir string) int {
	ctx := context.Background()
	a, err := Launch(ctx, Config{ID: "orphan", Dir: dir, Hostname: "orphan"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	d, err := a.AddInterface(ctx, Interface{MTU: 1400})
	if err == nil {
		p := shell("echo first; read x; echo $x; exit 5")
		p.OpenStdin = true
		err = a.Start(ctx, p)
	}
	fmt.Println("launched", a.PID(), d != nil, err)
	time.Sleep(time.Minute)
	return 0
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
