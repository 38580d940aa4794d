//go:build linux

package sandbox

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nettest"
)

func header(version byte, size uint32) []byte {
	b := []byte{'w', 'f', version, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], size)
	return b
}

func testGarbage(t *testing.T) {
	ctx := testContext(t)
	a := launchTest(t, Config{})
	startIdle(t, a)
	fds := func() int {
		e, err := os.ReadDir("/proc/" + strconv.Itoa(a.PID()) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	a.State(ctx)
	before := fds()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, tt := range []struct {
		name, body string
		head       []byte
	}{
		{"no header", "GET / HTTP/1.1\r\n\r\n", nil},
		{"other version", "{}", header(9, 2)},
		{"too long", "{}", header(wireVersion, maxMessage+1)},
		{"cut off", "{", header(wireVersion, 100)},
		{"header cut off", "", []byte("wf")},
		{"no JSON", "}{", header(wireVersion, 2)},
		{"empty", "", header(wireVersion, 0)},
		{"unknown operation", `{"Op":"dance"}`, header(wireVersion, 14)},
		{"start of nothing", `{"Op":"start"}`, header(wireVersion, 14)},
		{"exec of nothing", `{"Op":"exec"}`, header(wireVersion, 13)},
		{"interface of nothing", `{"Op":"interface-add"}`, header(wireVersion, 22)},
		{"attach without options, then nonsense", `{"Op":"attach"}` + "\x00\xff\xff\xff\xff", header(wireVersion, 15)},
		{"wrong type", `{"Op":7}`, header(wireVersion, 8)},
	} {
		conn, err := dial(ctx, a.dir)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.WriteMsgUnix(append(tt.head, tt.body...), unix.UnixRights(int(null.Fd()), int(null.Fd())), nil)
		conn.CloseWrite()
		buf := make([]byte, 4096)
		for err == nil {
			_, err = conn.Read(buf)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", tt.name)
		}
		conn.Close()
	}
	// More connections than are served.
	var conns []*net.UnixConn
	for range maxConns + 20 {
		if c, err := dial(ctx, a.dir); err == nil {
			conns = append(conns, c)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	waitFor(t, "the agent to close what came", func() bool {
		s, err := a.State(ctx)
		return err == nil && s.Phase == Running && fds() <= before
	})
}

// Where the kernel makes no further user namespace, the error says which knob.
func TestLaunchForbidden(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		nettest.CheckLeaks(t)
		if err := os.WriteFile(knobMax, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "sb")
		_, err := Launch(testContext(t), Config{ID: "x", Dir: dir})
		if !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "user.max_user_namespaces") {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Error("the directory is left")
		}
	})
}

// Where /dev/net/tun is missing or closed, the error says what to do, and the
// sandbox goes on.
func TestTapForbidden(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		nettest.CheckLeaks(t)
		for _, tt := range []struct{ name, text string }{{"missing", "modprobe tun"}, {"empty file", ""}} {
			if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			if tt.name != "missing" {
				os.WriteFile("/dev/net/tun", nil, 0o666)
			}
			a := launchTest(t, Config{})
			startIdle(t, a)
			_, err := a.AddInterface(testContext(t), Interface{MTU: 1500})
			if err == nil || !strings.Contains(err.Error(), tt.text) || tt.text != "" && !errors.Is(err, ErrForbidden) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if out := inside(t, a, "ls /sys/class/net"); out != "lo\n" {
				t.Errorf("%s: left behind %q", tt.name, out)
			}
			unix.Unmount("/dev/net", unix.MNT_DETACH)
		}
	})
}

// A /proc with covered parts, as in a container, lets no new one be mounted.
func TestProcForbidden(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		if err := unix.Mount("/proc/version", "/proc/cpuinfo", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		_, err := Launch(testContext(t), Config{ID: "x", Dir: filepath.Join(t.TempDir(), "sb")})
		if !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "systempaths=unconfined") {
			t.Errorf("%v", err)
		}
	})
}

func TestExplainClone(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		text string
	}{
		{"limit", unix.ENOSPC, "max_user_namespaces"},
		{"kernel", unix.EINVAL, "CONFIG_USER_NS"},
		{"seccomp", unix.EPERM, "seccomp"},
	} {
		if err := explainClone(tt.err); !errors.Is(err, ErrForbidden) || !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
