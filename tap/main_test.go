package tap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// inside is set in the environment of the test binary when it runs as root of a
// user namespace that it was put into.
const inside = "WEFT_TAP_TEST_INSIDE"

// TestMain puts an ordinary user's tests into a user namespace of their own,
// where they may make interfaces.
func TestMain(m *testing.M) {
	if os.Getuid() == 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Println("SKIP package tap: this host makes no user namespace for an ordinary user:", err)
	}
}

// TestOrdinaryUser runs all other tests again as a user without any right, in a
// user namespace.
func TestOrdinaryUser(t *testing.T) {
	if os.Getenv(inside) != "" || os.Getuid() != 0 {
		return // this is the ordinary user's run already
	}
	if info, err := os.Stat(cloneDevice); err == nil && info.Mode().Perm() != 0o666 {
		if err := os.Chmod(cloneDevice, 0o666); err != nil {
			t.Skipf("%s is not open to everyone and cannot be made so: %v", cloneDevice, err)
		}
	}
	dir, err := os.MkdirTemp("", "weft-tap")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary := dir + "/tap.test"
	if err := copyFile(binary, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.timeout=60s")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// A space is a network namespace and the thread that lives in it.
type space struct {
	jobs chan func()
	err  error
}

// newSpace makes a network namespace that ends with the test.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{jobs: make(chan func())}
	ready := make(chan struct{})
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the
		// namespace with it.
		runtime.LockOSThread()
		s.err = syscall.Unshare(syscall.CLONE_NEWNET)
		close(ready)
		for job := range s.jobs {
			job()
		}
	}()
	<-ready
	if s.err != nil {
		t.Fatalf("unshare network namespace: %v", s.err)
	}
	t.Cleanup(func() { close(s.jobs) })
	return s
}

// do runs f inside the namespace. f must not end its goroutine.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() { defer close(done); f() }
	<-done
}
