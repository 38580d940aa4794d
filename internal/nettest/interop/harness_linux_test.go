package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience bounds every command and whatever is waited for.
const patience = 30 * time.Second

// eventually waits until something holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) bool {
	t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", within, what)
			return false
		}
	}
	return true
}

// run runs a command to its end, within patience.
func run(t *testing.T, args ...string) (out string, ok bool) {
	t.Helper()
	return runWith(t, nil, args...)
}

// runWith is run with an environment of its own, if not nil.
func runWith(t *testing.T, env []string, args ...string) (out string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // of clean-ups too
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = env
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.WaitDelay = time.Second
	b, err := c.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("%v did not end within %v", args, patience)
	}
	return string(b), err == nil
}

// must runs a command that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, ok := run(t, args...)
	if !ok {
		t.Fatalf("%v failed:\n%s", args, out)
	}
	return out
}

// ip runs the commands of iproute2's ip, one a line.
func ip(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if args := strings.Fields(line); len(args) > 0 {
			must(t, append([]string{"ip"}, args...)...)
		}
	}
}

// in puts a command into a named namespace.
func in(ns string, args ...string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + ns}, args...)
}

// start runs a command in the background, until the test ends.
func start(t *testing.T, args ...string) *background {
	t.Helper()
	return startWith(t, nil, args...)
}

// startWith is start with an environment of its own, if not nil.
func startWith(t *testing.T, env []string, args ...string) *background {
	t.Helper()
	b := &background{}
	c := exec.Command(args[0], args[1:]...)
	c.Env = env
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stdout, c.Stderr = &b.out, &b.out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	b.process = c
	t.Cleanup(func() { b.stop(t) })
	return b
}

// A background is a command that runs beside the test.
type background struct {
	process *exec.Cmd
	out     buffer
	stopped bool
}

// stop ends it in an orderly way, and returns its output.
func (b *background) stop(t *testing.T) string {
	t.Helper()
	if !b.stopped {
		b.stopped = true
		_ = b.process.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = b.process.Process.Kill() })
		_ = b.process.Wait() // how a terminated process ends is its own matter
		if !timer.Stop() {
			t.Errorf("%v did not end when told to:\n%s", b.process.Args, b.out.String())
		}
	}
	return b.out.String()
}

// within calls f on a thread in a named namespace.
func within(t *testing.T, ns string, f func() error) {
	t.Helper()
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(home)
	there, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		t.Fatalf("enter namespace %s: %v", ns, err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		t.Fatalf("leave namespace %s: %v", ns, back) // and the thread is not used again
	}
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatalf("in namespace %s: %v", ns, err)
	}
}

// wireOnly makes an interface send nothing but finished packets: no checksums are
// left out, no segments left together. It is for what reads raw frames from the
// other end, and so would see the unfinished ones.
func wireOnly(t *testing.T, ns, name string) {
	t.Helper()
	set := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, cmd := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO} {
			value := [2]uint32{cmd, 0}
			var req struct {
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte
			}
			copy(req.name[:], name)
			req.data = unsafe.Pointer(&value)
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
				return errno
			}
		}
		return nil
	}
	if ns != "" {
		within(t, ns, set)
	} else if err := set(); err != nil {
		t.Fatal(err)
	}
}

// packetSocket opens an AF_PACKET socket on an interface of a namespace; its
// frames come with their tags in place, and reads end after a second.
func packetSocket(t *testing.T, ns, name string) int {
	t.Helper()
	var fd int
	within(t, ns, func() (err error) {
		fd, err = openPacket(name)
		return err
	})
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func openPacket(name string) (int, error) {
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return -1, err
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: int(ifr.Uint32())})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// readFrame reads one frame with its tag, which Linux hands over beside it, or
// nil when none comes. What this host itself sent is passed over.
func readFrame(fd int) ([]byte, error) {
	for {
		data, oob := make([]byte, 1<<16), make([]byte, 64)
		n, oobn, _, from, err := unix.Recvmsg(fd, data, oob, 0)
		if err == unix.EAGAIN {
			return nil, nil
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if a, ok := from.(*unix.SockaddrLinklayer); ok && a.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		data = data[:n]
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
				continue
			}
			aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
			if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
				tag := binary.BigEndian.AppendUint16(nil, aux.Vlan_tpid)
				tag = binary.BigEndian.AppendUint16(tag, aux.Vlan_tci)
				data = append(append(bytes.Clone(data[:12]), tag...), data[12:]...)
			}
		}
		return data, nil
	}
}

// reflectArg makes this binary a reflector of tagged frames.
const reflectArg = "reflect-tagged"

// reflect sends every IPv4 packet in a frame with an 802.1Q tag that arrives on an
// interface back to where it came from, until it is killed.
func reflect(args []string) int {
	fd, err := openPacket(args[0])
	if err != nil {
		io.WriteString(os.Stderr, err.Error())
		return 1
	}
	os.Stdout.WriteString("ready\n")
	for {
		f, err := readFrame(fd)
		if err != nil {
			io.WriteString(os.Stderr, err.Error())
			return 1
		}
		if len(f) < 38 || f[12] != 0x81 || f[13] != 0 || f[16] != 8 || f[17] != 0 {
			continue
		}
		f = reversed(f)
		if _, err := unix.Write(fd, f); err != nil {
			io.WriteString(os.Stderr, err.Error())
			return 1
		}
	}
}

// reversed returns a tagged frame with its MAC and IPv4 addresses exchanged. No
// checksum changes by that.
func reversed(f []byte) []byte {
	return slices.Concat(f[6:12], f[:6], f[12:30], f[34:38], f[30:34], f[38:])
}
