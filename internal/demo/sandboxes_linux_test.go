package demo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/nettest"
)

// built returns a weft binary that every user may run.
func built(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "weft")
	cmd := exec.Command("go", "build", "-o", exe, "weft/cmd/weft")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return nettest.PublicCopy(t, exe)
}

// left returns what a tour must not leave: processes of its binary, directories.
func left(t *testing.T, exe string) (found []string) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if to, err := os.Readlink(p); err == nil && strings.HasPrefix(to, exe) {
			found = append(found, p)
		}
	}
	return found
}

// TestSandboxes takes the tour as an ordinary user, in real sandboxes.
func TestSandboxes(t *testing.T) {
	exe := built(t)
	t.Run("whole", func(t *testing.T) { whole(t, exe) })
	t.Run("interrupted", func(t *testing.T) { interrupted(t, exe, "A verified transfer") })
	t.Run("interrupted with nodes", func(t *testing.T) { interrupted(t, exe, "A datagram on the way") })
	t.Run("interrupted in a swarm", func(t *testing.T) { interrupted(t, exe, "Everybody reaches everybody") })
}

func whole(t *testing.T, exe string) {
	cmd := nettest.UserCommand(t, exe, "demo")
	out, err := cmd.CombinedOutput()
	if strings.HasSuffix(string(out), ", in-process hosts\n") && err == nil {
		nettest.Skip(t, "this host allows no sandboxes:\n%.1000s", out)
	}
	if err != nil || !strings.HasSuffix(string(out), "\ndemo: 33 of 33 hold, real sandboxes\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	if l := left(t, exe); len(l) > 0 {
		t.Errorf("left running: %q", l)
	}
}

// interrupted sends what Ctrl-C sends at a step, to the tour and to its daemons: all
// end, and nothing is left.
func interrupted(t *testing.T, exe, step string) {
	cmd := nettest.UserCommand(t, exe, "demo")
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	var out strings.Builder
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for sent := false; ; {
		n, err := pipe.Read(buf)
		out.Write(buf[:n])
		if !sent && strings.Contains(out.String(), step) {
			sent = true
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	if strings.Contains(out.String(), "in-process hosts") {
		nettest.Skip(t, "this host allows no sandboxes:\n%.1000s", out.String())
	}
	if err == nil || strings.Contains(out.String(), "taking everything down") {
		t.Errorf("exit: %v\n%s", err, out.String())
	}
	for range 50 { // the last process may still be ending
		if len(left(t, exe)) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("left running: %q\n%s", left(t, exe), out.String())
}

// TestForbidden takes the tour where the kernel allows no user namespace: it says
// so, says what to do, and runs over in-process hosts.
func TestForbidden(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		exe := built(t)
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(exe, "demo").CombinedOutput()
		text := string(out)
		if err != nil || !strings.HasSuffix(text, "\ndemo: 24 of 24 hold, in-process hosts\n") ||
			!strings.Contains(text, "This kernel does not allow sandboxes") || !strings.Contains(text, "max_user_namespaces") {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
