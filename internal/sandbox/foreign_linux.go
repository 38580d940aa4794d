package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"weft/tap"
)

// Theory of operation: foreign namespaces
//
// Nothing of weft lives in a namespace somebody else made. Each call enters it,
// does its work and leaves; what stays is a persistent TAP, which a later daemon
// opens again by its name.
//
// Root enters with setns(2) on a thread that is locked and never unlocked, so that
// the runtime ends it. An ordinary user has no right to the network namespace but
// by way of the user namespace that owns it, which a process of many threads
// cannot join: util-linux's nsenter joins both and executes this binary, which
// sends its answer and the descriptors over an inherited socket. nsenter is given
// the namespaces as descriptors, so that a process id that was taken over in the
// meantime cannot lead elsewhere.
//
// A ForeignNS holds no descriptor of the namespace: that would keep it alive. Its
// devices do keep it alive, so their owner asks Check from time to time and closes
// them when it says ErrGone.

const foreignArg = "foreign"

// A ForeignNS is a network namespace made by somebody else.
type ForeignNS struct {
	config ForeignConfig
	path   string
	id     NamespaceID
	pidfd  *os.File // of ForeignConfig.PID
}

// OpenForeign finds the namespace. It is not entered yet.
func OpenForeign(_ context.Context, c ForeignConfig) (*ForeignNS, error) {
	f := &ForeignNS{config: c, path: c.NetNS}
	if c.Exe == "" {
		f.config.Exe = "/proc/self/exe"
	}
	if (c.PID != 0) == (c.NetNS != "") {
		return nil, errors.New("foreign namespace: a process id or a path was expected, and not both")
	}
	if c.PID != 0 {
		f.path = fmt.Sprintf("/proc/%d/ns/net", c.PID)
		fd, err := unix.PidfdOpen(c.PID, 0)
		if err != nil {
			return nil, fmt.Errorf("foreign namespace: %w: process %d: %w", ErrGone, c.PID, err)
		}
		f.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	ns, err := f.open()
	if err != nil {
		f.Close()
		return nil, err
	}
	defer ns.Close()
	var st, own unix.Stat_t
	if err = unix.Fstat(int(ns.Fd()), &st); err == nil {
		err = unix.Stat("/proc/thread-self/ns/net", &own)
	}
	if err == nil && st.Dev == own.Dev && st.Ino == own.Ino {
		err = fmt.Errorf("%s is the network namespace that weft itself runs in: a namespace of its own was expected", f.path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("foreign namespace: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("foreign namespace: %w", err)
	}
	f.id = NamespaceID{Dev: st.Dev, Ino: st.Ino, Boot: strings.TrimSpace(string(boot))}
	if c.Expect != (NamespaceID{}) && c.Expect != f.id {
		f.Close()
		return nil, fmt.Errorf("foreign namespace %s: %w: %w", f.path, ErrGone, errAnother)
	}
	return f, nil
}

// errAnother: the path, or the process id, leads somewhere else than before.
var errAnother = errors.New("another namespace is found there now")

// ID returns the namespace's identity, for ForeignConfig.Expect of a later daemon.
func (f *ForeignNS) ID() NamespaceID { return f.id }

// open opens the namespace's file and makes sure that it is still the same.
func (f *ForeignNS) open() (*os.File, error) {
	gone := func(err error) error { return fmt.Errorf("foreign namespace %s: %w: %w", f.path, ErrGone, err) }
	file, err := os.Open(f.path)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil, gone(err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("foreign namespace %s: %w: it belongs to another user: %w", f.path, ErrForbidden, err)
	case err != nil:
		return nil, fmt.Errorf("foreign namespace: %w", err)
	}
	if err := f.same(file); err != nil {
		file.Close()
		return nil, gone(err)
	}
	return file, nil
}

func (f *ForeignNS) same(file *os.File) error {
	if f.pidfd != nil {
		poll := []unix.PollFd{{Fd: int32(f.pidfd.Fd()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(poll, 0); n > 0 {
			return fmt.Errorf("process %d has ended", f.config.PID)
		}
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is no network namespace (any more)", f.path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	if f.id.Ino != 0 && (st.Dev != f.id.Dev || st.Ino != f.id.Ino) {
		return errAnother
	}
	return nil
}

// Check returns ErrGone once the process has ended or the path no longer leads to
// the same namespace. Whoever holds devices of it closes them then, which lets the
// kernel free it. The call is cheap.
func (f *ForeignNS) Check(context.Context) error {
	file, err := f.open()
	if err != nil {
		return err
	}
	return file.Close()
}

// Same reports whether f and g are one namespace, whatever led to it.
func (f *ForeignNS) Same(g *ForeignNS) bool { return f.id == g.id }

// At reports whether a path leads to the namespace now.
func (f *ForeignNS) At(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Dev == f.id.Dev && st.Ino == f.id.Ino
}

// NetNS returns the path of the namespace.
func (f *ForeignNS) NetNS() string { return f.path }

// Close releases the handle; interfaces stay.
func (f *ForeignNS) Close() error {
	if f.pidfd == nil {
		return nil
	}
	return f.pidfd.Close()
}

// AddInterface makes a persistent interface and returns its device.
func (f *ForeignNS) AddInterface(ctx context.Context, i Interface) (*tap.Device, error) {
	return f.device(ctx, request{Op: opAdd, Interface: &i})
}

// Reopen returns the device of an interface made by AddInterface with as many
// queues. The error is ErrNoInterface if it was deleted.
func (f *ForeignNS) Reopen(ctx context.Context, i Interface) (*tap.Device, error) {
	return f.device(ctx, request{Op: opReopen, Interface: &i})
}

// RemoveInterface deletes an interface; one that is gone is no error.
func (f *ForeignNS) RemoveInterface(ctx context.Context, name string) error {
	_, fds, err := f.call(ctx, request{Op: opRemove, Name: name})
	closeFDs(fds)
	return err
}

// SetDefaultRoute is as [Agent.SetDefaultRoute].
func (f *ForeignNS) SetDefaultRoute(ctx context.Context, ifname string, gw4, gw6 netip.Addr) error {
	_, fds, err := f.call(ctx, request{Op: opGateway, Name: ifname, Gateway4: gw4, Gateway6: gw6})
	closeFDs(fds)
	return err
}

// SetMTU is as [Agent.SetMTU].
func (f *ForeignNS) SetMTU(ctx context.Context, ifname string, mtu, superframe int) error {
	_, fds, err := f.call(ctx, request{Op: opMTU, Name: ifname, MTU: mtu, Superframe: superframe})
	closeFDs(fds)
	return err
}

func (f *ForeignNS) device(ctx context.Context, q request) (*tap.Device, error) {
	r, fds, err := f.call(ctx, q)
	if err != nil {
		return nil, err
	}
	return tap.Adopt(r.Name, fds, q.Interface.Highest)
}

// call carries out a request inside the namespace.
func (f *ForeignNS) call(ctx context.Context, q request) (r reply, fds []int, err error) {
	ns, err := f.open()
	if err != nil {
		return r, nil, err
	}
	defer ns.Close()
	conn, peer, err := socketPair()
	if err != nil {
		return r, nil, err
	}
	defer conn.Close()
	defer interrupt(ctx, conn)()
	var wait func() error
	if os.Geteuid() == 0 {
		wait = f.enterThread(ns, peer)
	} else if wait, err = f.enterProcess(ctx, ns, peer); err != nil {
		peer.Close()
		return r, nil, fmt.Errorf("foreign namespace %s: %w", f.path, err)
	}
	if err = send(conn, q, nil); err == nil {
		fds, err = receive(conn, &r)
	}
	if err != nil {
		conn.Close() // the other end may be waiting for a request that will not come
	}
	switch werr := wait(); {
	case ctx.Err() != nil && err != nil:
		err = ctx.Err()
	case werr != nil:
		err = werr // says more than the end of the connection
	}
	if err == nil {
		err = r.err()
	}
	if err != nil {
		closeFDs(fds)
		return r, nil, fmt.Errorf("foreign namespace %s: %s: %w", f.path, q.Op, err)
	}
	return r, fds, nil
}

// enterThread serves the request on a thread of this process.
func (f *ForeignNS) enterThread(ns, peer *os.File) (wait func() error) {
	done := make(chan error, 1)
	onThread(func() {
		conn, err := net.FileConn(peer)
		peer.Close()
		if err == nil {
			defer conn.Close()
			if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
				err = serveForeign(conn.(*net.UnixConn))
			} else if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("%w: setns: CAP_SYS_ADMIN over it is missing: %w", ErrForbidden, err)
			}
		}
		done <- err
	})
	return func() error { return <-done }
}

// onThread runs f on a thread that ends with it. The process's first thread cannot
// end: it would stay in the namespace that f enters, and stand for the whole
// process in /proc.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // still locked, so the runtime ends the thread
		}
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() { // not on the first thread, which is held here
			defer close(done)
			runtime.LockOSThread()
			f()
		}()
		<-done
	}()
}

// ownerOf opens the user namespace that owns a network namespace.
func ownerOf(ns *os.File) (*os.File, error) {
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return nil, fmt.Errorf("%w: its user namespace belongs to somebody else; run weft as root or as the user who made it: %w", ErrForbidden, err)
	}
	owner := os.NewFile(uintptr(fd), "user namespace")
	unix.CloseOnExec(fd)
	var st, own unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		err = unix.Stat("/proc/thread-self/ns/user", &own)
	}
	if err == nil && st.Dev == own.Dev && st.Ino == own.Ino {
		err = fmt.Errorf("%w: it belongs to root; run weft as root", ErrForbidden)
	}
	if err != nil {
		owner.Close()
		return nil, err
	}
	return owner, nil
}

// firstLine shortens a program's message.
func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
