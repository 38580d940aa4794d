package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
	"weft/internal/sandbox"
)

// daemon opens a node as told by the first argument, makes two sandboxes that
// talk and waits to be killed. A second argument says what it does instead.
func daemon(args []string) int {
	var c Config
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	ctx := context.Background()
	n, err := Open(ctx, c)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	if len(args) > 1 {
		fmt.Println("ready")
		if args[1] == "swing" {
			swing(ctx, n)
		}
		churn(ctx, n, nil)
	}
	_, _, err = n.NetworkCreate(ctx, cnm.Network{Name: "front", EnableIPv4: true})
	for _, spec := range []cnm.SandboxSpec{
		{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")},
		{Name: "tulip", Cmd: program("sleep"), Networks: on("front")},
		{Name: "aster", Cmd: program("sleep"), Networks: on("front")},
		{Name: "never", Cmd: program("sleep"), Networks: on("front")},
	} {
		if err == nil {
			_, _, err = n.SandboxCreate(ctx, spec)
		}
		if err == nil && spec.Name != "never" {
			err = n.SandboxStart(ctx, spec.Name)
		}
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// startDaemon runs a node in a process of its own.
func startDaemon(t *testing.T, c Config, more ...string) *exec.Cmd {
	t.Helper()
	needSandboxes(t)
	c.Log = nil
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(c.Exe, append([]string{"daemon", string(b)}, more...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // held open as long as this test
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("daemon: %q, %v", line, err)
	}
	return cmd
}

func TestRestartAfterKill(t *testing.T) {
	c := testConfig(t)
	cmd := startDaemon(t, c)
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", cmd.Process.Pid)) {
		t.Errorf("second daemon on one data directory: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	// While no daemon runs one sandbox ends, and an agent of nobody is there.
	var agents []string
	dirs, _ := filepath.Glob(filepath.Join(c.RunDir, "node-*", "*"))
	for _, dir := range dirs {
		agents = append(agents, filepath.Base(dir))
	}
	if len(agents) != 3 {
		t.Fatalf("agents: %q", agents)
	}
	orphan := filepath.Join(filepath.Dir(dirs[0]), "orphan")
	if a, err := sandbox.Launch(t.Context(), sandbox.Config{ID: "orphan", Dir: orphan, Exe: c.Exe, Hostname: "orphan"}); err != nil {
		t.Fatal(err)
	} else {
		a.Close()
	}
	aster := endAster(t, c, dirs)

	n := openNode(t, c)
	for name, state := range map[string]cnm.State{"rose": cnm.Running, "tulip": cnm.Running, "aster": cnm.Exited, "never": cnm.Created} {
		sb := mustFind(t, n, name)
		if sb.State != state || (sb.PID != 0) != (state == cnm.Running) || len(sb.Endpoints) != map[bool]int{true: 1}[state == cnm.Running] {
			t.Errorf("%s: %+v", name, sb)
		}
		if name == "aster" && (sb.ID != aster || sb.ExitCode != 137) {
			t.Errorf("aster ended with %d", sb.ExitCode)
		}
	}
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("the agent of nobody: %v", err)
	}
	rose := mustFind(t, n, "rose")
	reach(t, n, "tulip", addr4(rose, "front"), true)
	// The addresses are known to be taken, the freed one is free.
	n.SandboxStart(t.Context(), "never")
	never := mustFind(t, n, "never")
	if got, want := addr4(never, "front"), addr4(rose, "front").Next().Next(); got != want {
		t.Errorf("new endpoint has %s, want %s", got, want)
	}
	reach(t, n, "never", addr4(rose, "front"), true)
	if err := n.NetworkConnect(t.Context(), "bridge", "rose", cnm.EndpointConfig{}); err != nil {
		t.Errorf("connect after a restart: %v", err)
	}
}

// endAster kills the main process of sandbox aster and returns its id.
func endAster(t *testing.T, c Config, dirs []string) string {
	t.Helper()
	j, contents, err := openJournal(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	j.close()
	for _, r := range contents.sandboxes {
		if r.Sandbox.Spec.Name != "aster" {
			continue
		}
		a, err := sandbox.Connect(t.Context(), r.RunDir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if err := a.Signal(t.Context(), sigKill); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			if _, err := sandbox.ReadStatus(r.RunDir); err == nil {
				return r.Sandbox.ID
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Fatal("aster did not end")
	return ""
}
