package uplink

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideEnv is set in the environment of the test binary when it runs as root of a
// network namespace of its own.
const insideEnv = "WEFT_UPLINK_TEST_INSIDE"

// The host's own addresses in the tests' namespace, which stand for the outside.
const (
	outside4 = "198.51.100.1"
	outside6 = "2001:db8::1"
)

// TestMain puts the tests into user and network namespaces of their own.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := furnish(); err != nil {
			fmt.Println("test namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil && os.Getenv("WEFT_NO_SKIP") != "":
		fmt.Println("must not be skipped here: this host makes no user namespace:", err)
		os.Exit(1)
	case err != nil:
		fmt.Println("SKIP package uplink: this host makes no user namespace:", err)
	}
}

// furnish gives the namespace addresses, and its root ping sockets.
func furnish() error {
	// A namespace forbids ping sockets at first, and for TestEchoForbidden's it is
	// to stay so.
	if os.Getenv("WEFT_NETTEST_CHILD") == "" {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range []string{outside4 + "/32", "198.51.100.2/32", outside6 + "/128"} {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		// The workers of a fuzz test find them there.
		if err := netlink.AddrAdd(lo, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(lo)
}
