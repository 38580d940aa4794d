package nettest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNamespaced(t *testing.T) {
	Namespaced(t, func(t *testing.T) {
		ifs, err := net.Interfaces()
		if err != nil || len(ifs) != 1 || ifs[0].Flags&net.FlagUp == 0 || os.Getuid() != 0 {
			t.Fatalf("interfaces %v, %v, uid %d, want lo up and root", ifs, err, os.Getuid())
		}
	})
}

func TestNamespacedFails(t *testing.T) {
	t.Run("inner/name", func(t *testing.T) { // a name that needs quoting
		if os.Getenv("WEFT_MUST_FAIL") == "" {
			t.Setenv("WEFT_MUST_FAIL", "1")
			cmd := childCommand(t, childNamespace, os.Args[0])
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "deliberate") {
				t.Fatalf("the child's failure went unnoticed: %v\n%s", err, out)
			}
			return
		}
		t.Fatal("deliberate")
	})
}

func TestUnprivileged(t *testing.T) {
	Unprivileged(t, func(t *testing.T) {
		if os.Getuid() == 0 && !stage(childNamespace) {
			t.Fatal("still root")
		}
		if err := os.WriteFile(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		// An ordinary user can make namespaces of its own.
		Namespaced(t, func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Fatal("not root in the namespace")
			}
		})
	})
}

func TestUserCommand(t *testing.T) {
	out, err := UserCommand(t, "id", "-u").Output()
	if err != nil || strings.TrimSpace(string(out)) == "0" {
		t.Fatalf("id -u = %s, %v", out, err)
	}
}

func TestCheckLeaks(t *testing.T) {
	if os.Getenv("WEFT_MUST_LEAK") != "" {
		CheckLeaks(t)
		go func() { time.Sleep(time.Minute) }()
		f, _ := os.Open("/dev/null")
		_ = f.Fd()
		t.Cleanup(func() { f.Name() })
		return
	}
	t.Setenv("WEFT_MUST_LEAK", "1")
	out, err := exec.Command(os.Args[0], "-test.run=^TestCheckLeaks$", "-test.v").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "leaked goroutine") || !strings.Contains(string(out), "leaked descriptor") {
		t.Fatalf("leaks went unnoticed: %v\n%s", err, out)
	}
}

func TestSkip(t *testing.T) {
	t.Setenv(NoSkip, "1")
	probe := &fatal{TB: t}
	if Skip(probe, "why"); !probe.failed {
		t.Fatal("a skip was allowed")
	}
}

type fatal struct {
	testing.TB
	failed bool
}

func (f *fatal) Fatalf(string, ...any) { f.failed = true }
func (f *fatal) Skipf(string, ...any)  {}
func (f *fatal) Helper()               {}
