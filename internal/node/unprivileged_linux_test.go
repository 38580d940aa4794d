package node

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Everything again as an ordinary user, when run as root.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: the other tests are the unprivileged ones already")
	}
	uid := 29999 // nobody needs to know this user
	if u, err := user.Lookup("wefttest"); err == nil {
		uid, _ = strconv.Atoi(u.Uid)
	}
	dir, err := os.MkdirTemp("", "weft-node-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	exe, helper := filepath.Join(dir, "node.test"), filepath.Join(dir, "helper")
	if err := errors.Join(copyFile("/proc/self/exe", exe), copyFile(os.Getenv(helperEnv), helper)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.v", "-test.run", "^Test(Lifecycle|StopAndKill|Connectivity|Modes|RestartAfterKill|Foreign|Exec|Terminal|Doctor|WayOutLife)$")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, helperEnv + "=" + helper, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "--- SKIP") || strings.Count(string(out), "--- PASS") < 9 {
		t.Errorf("as user %d: %v\n%s", uid, err, out)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
