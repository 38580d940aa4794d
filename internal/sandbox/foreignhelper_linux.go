package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/tap"
)

// enterProcess serves the request in a process that nsenter starts.
func (f *ForeignNS) enterProcess(ctx context.Context, ns, peer *os.File) (wait func() error, err error) {
	owner, err := ownerOf(ns)
	if err != nil {
		return nil, err
	}
	defer owner.Close()
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, fmt.Errorf("nsenter is needed to enter it without root; it is in the package util-linux: %w", err)
	}
	exe, err := os.Open(f.config.Exe)
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, nsenter, "--preserve-credentials", "--user=/proc/self/fd/4", "--net=/proc/self/fd/5",
		"/proc/self/fd/6", AgentArg, foreignArg)
	cmd.Stderr = &stderr
	cmd.Env = agentEnv()
	cmd.ExtraFiles = []*os.File{peer, owner, ns, exe} // 3, 4, 5, 6
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("nsenter: %w", err)
	}
	peer.Close()
	return func() error {
		if err := cmd.Wait(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %s", err, firstLine(stderr.Bytes()))
		}
		return nil
	}, nil
}

// foreignMain is the process that nsenter starts.
func foreignMain() int {
	for fd := fdBoot; fd <= fdExe; fd++ {
		unix.CloseOnExec(fd)
	}
	conn, err := fileConn(fdBoot)
	if err == nil {
		err = serveForeign(conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// serveForeign answers one request in the calling thread's network namespace.
func serveForeign(conn *net.UnixConn) error {
	var q request
	if _, err := receive(conn, &q); err != nil {
		return err
	}
	name, files, err := foreign(q)
	defer closeFiles(files)
	if err != nil {
		return send(conn, failure(err), nil)
	}
	return send(conn, reply{Name: name}, files)
}

func foreign(q request) (name string, files []*os.File, err error) {
	switch q.Op {
	case opRemove:
		return q.Name, nil, deleteLink(q.Name)
	case opGateway:
		return q.Name, nil, setDefaultRoute(q.Name, q.Gateway4, q.Gateway6)
	case opMTU:
		return q.Name, nil, setMTU(q.Name, q.MTU, q.Superframe)
	case opAdd, opReopen:
	default:
		return "", nil, fmt.Errorf("unknown operation %q", q.Op)
	}
	if q.Interface == nil {
		return "", nil, errors.New("no interface given")
	}
	if q.Op == opReopen {
		return reopen(q.Interface)
	}
	sys, err := os.Open("/proc/sys")
	if err != nil {
		return "", nil, err
	}
	defer sys.Close()
	d, files, err := makeInterface(sys, q.Interface, true)
	if err != nil {
		return "", nil, explainForeign(err)
	}
	defer d.Close()
	return d.Name(), files, nil
}

// reopen attaches to a persistent interface again.
func reopen(i *Interface) (string, []*os.File, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", nil, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	if _, err := h.LinkByName(i.Name); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", ErrNoInterface, i.Name, err)
	}
	d, err := tap.Open(tap.Options{Name: i.Name, Queues: i.Queues, Highest: i.Highest, Persist: true, NAPI: i.NAPI})
	if err != nil {
		return "", nil, explainForeign(explainTap(err))
	}
	defer d.Close()
	files, err := d.Files()
	return i.Name, files, err
}

// explainForeign says more where the namespace gave its user no rights.
func explainForeign(err error) error {
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		return fmt.Errorf("the user is not root inside the namespace (unshare -Urn, not -Un): %w", err)
	}
	return err
}
