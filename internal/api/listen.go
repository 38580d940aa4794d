package api

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/cnm"
	"weft/internal/node"
)

// Listen opens a listener for a host as in --host: unix:///path or
// tcp://address:port.
func Listen(host string) (net.Listener, error) {
	proto, addr, ok := strings.Cut(host, "://")
	switch {
	case ok && proto == "unix" && addr != "":
		return listenUnix(addr)
	case ok && proto == "tcp" && addr != "":
		return net.Listen("tcp", addr)
	}
	return nil, cnm.Errorf(cnm.Invalid, "host %q: expected unix:///path/of/socket or tcp://address:port", host)
}

// listenUnix makes a socket that only its owner can connect to: it is bound in
// a directory of its own, gets mode 0600 there and is then moved to its place.
// A socket left by a daemon that died is replaced, one that answers is not.
func listenUnix(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: another daemon answers there", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("listen on %s: a file that is not a socket is in the way", path)
	}
	if len(path) > node.MaxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path has %d bytes, a socket's can have %d: choose a shorter one", path, len(path), node.MaxSocketPath)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".weft") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tmp := filepath.Join(dir, "s")
	l, err := bindIn(dir, "s")
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	err = os.Chmod(tmp, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &unixListener{UnixListener: l, path: path}, nil
}

// bindIn makes the socket name in dir. Where there is /proc, it is reached by dir's
// descriptor: dir's path may be too long for a socket's address.
func bindIn(dir, name string) (*net.UnixListener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	path := filepath.Join(dir, name)
	if short := fmt.Sprintf("/proc/self/fd/%d", d.Fd()); sameFile(short, dir) {
		path = filepath.Join(short, name)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the path leads elsewhere by then
	return l, nil
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// A unixListener removes its socket when it is closed.
type unixListener struct {
	*net.UnixListener
	path string
}

// Addr returns where the socket is, not where it was bound.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket.
func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if err == nil { // the first Close only: the path may be another daemon's by now
		_ = os.Remove(l.path)
	}
	return err
}
