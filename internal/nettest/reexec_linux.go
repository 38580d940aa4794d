package nettest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Theory of operation. Namespaces and users belong to processes, and a Go test
// has many threads, so a test that wants others runs in a second process: the
// test binary starts itself with -test.run set to this very test and a word in
// the environment that says how far it got. The parent passes the child's output
// on and fails when the child fails. The child calls the test's body. So what a
// test does before and after such a call happens in both processes.

// Values of the environment variable that says which child this is.
const (
	childEnv       = "WEFT_NETTEST_CHILD"
	childNamespace = "namespace"
	childUser      = "user"
)

// UserName is the ordinary user that Unprivileged runs as when the tests are run
// by root. internal/nettest/setup.sh makes it.
const UserName = "wefttest"

// Namespaced runs body in fresh user, network and mount namespaces, as their
// root and with lo up. Where the host forbids that, the test is skipped with the
// reason. CheckLeaks and t.Cleanup work in body as usual.
func Namespaced(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if stage(childNamespace) {
		if err := enterNamespace(); err != nil {
			t.Fatal(err)
		}
		body(t)
		return
	}
	cmd := childCommand(t, childNamespace, os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	runChild(t, cmd)
}

// stage reports whether this process is the child of a kind. Kinds nest:
// Unprivileged may be called outside Namespaced, which is how rootless code is
// tried by root.
func stage(kind string) bool {
	for s := range strings.SplitSeq(os.Getenv(childEnv), ",") {
		if s == kind {
			return true
		}
	}
	return false
}

// enterNamespace makes the child's mounts its own and brings lo up.
func enterNamespace() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	return nil
}

// childCommand returns the test binary, set to run this test alone.
func childCommand(t *testing.T, kind, exe string) *exec.Cmd {
	var run []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		run = append(run, "^"+regexp.QuoteMeta(part)+"$")
	}
	args := []string{"-test.run=" + strings.Join(run, "/"), "-test.count=1", "-test.v"}
	if end, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+strconv.Itoa(max(1, int(time.Until(end).Seconds())))+"s")
	}
	cmd := exec.Command(exe, args...)
	stages := os.Getenv(childEnv)
	if stages != "" {
		stages += ","
	}
	// Without it, a child with the race detector waits for a second at its end.
	race := strings.TrimSpace("atexit_sleep_ms=0 " + os.Getenv("GORACE"))
	cmd.Env = append(os.Environ(), childEnv+"="+stages+kind, "GORACE="+race)
	return cmd
}

// runChild runs the child and judges it by its exit status and its output, which
// must show that the test really ran.
func runChild(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	// Pdeathsig goes by the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES) {
			Skip(t, "this host lets no process of uid %d make user and network namespaces: %v", os.Getuid(), err)
		}
		t.Fatalf("starting %s: %v", cmd.Path, err)
	}
	text := string(out)
	switch {
	case err != nil:
		t.Fatalf("child: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()+" "):
		Skip(t, "child was skipped:\n%s", text)
	case !strings.Contains(text, "--- PASS: "+lastParent(t.Name())):
		t.Fatalf("child did not run %s:\n%s", t.Name(), text)
	}
	if testing.Verbose() {
		t.Logf("child:\n%s", text)
	}
}

// lastParent returns the top level test's name: Go prints a line for it always.
func lastParent(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

// Unprivileged runs body as an ordinary user: in this process when it already is
// one, else in a child under UserName, with a home, a TMPDIR and an
// XDG_RUNTIME_DIR of its own, its working directory being that home.
func Unprivileged(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getuid() != 0 || stage(childUser) {
		body(t)
		return
	}
	cmd := childCommand(t, childUser, PublicCopy(t, os.Args[0]))
	asUser(t, cmd)
	runChild(t, cmd)
}

// UserCommand returns a command that runs as an ordinary user in the surroundings
// Unprivileged describes. The program must be one that user may execute: copy
// what the tests built with PublicCopy.
func UserCommand(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = os.Environ()
	if os.Getuid() == 0 {
		asUser(t, cmd)
	}
	return cmd
}

// asUser makes cmd run as UserName with fresh directories that belong to it.
func asUser(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	u, err := user.Lookup(UserName)
	if err != nil {
		Skip(t, "no ordinary user to run as: %v (internal/nettest/setup.sh makes %s)", err, UserName)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	home := publicDir(t)
	for _, d := range []string{home, filepath.Join(home, "tmp"), filepath.Join(home, "run")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(d, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGKILL}
	drop := []string{"HOME", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "GOCACHE", "GOMODCACHE", "SUDO_UID"}
	env := cmd.Env[:0:0]
	for _, kv := range cmd.Env {
		if k, _, _ := strings.Cut(kv, "="); !slices.Contains(drop, k) {
			env = append(env, kv)
		}
	}
	cmd.Env = append(env, "HOME="+home, "USER="+UserName, "LOGNAME="+UserName,
		"TMPDIR="+filepath.Join(home, "tmp"), "XDG_RUNTIME_DIR="+filepath.Join(home, "run"), "XDG_DATA_HOME="+filepath.Join(home, "data"))
}

// publicDir makes a directory every user may pass through. t.TempDir would not
// do: its parents belong to the one who runs the tests alone. The name is short,
// for socket paths may have 107 bytes.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "weft")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// PublicCopy returns the path of a copy of a program that any user may execute.
// It lives as long as the test.
func PublicCopy(t *testing.T, path string) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dst := filepath.Join(publicDir(t), filepath.Base(path))
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return dst
}
