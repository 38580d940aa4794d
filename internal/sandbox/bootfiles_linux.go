package sandbox

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The descriptors an agent is started with, after the standard three.
const (
	fdBoot     = 3 // its end of a socket pair: configuration in, readiness out
	fdListener = 4 // the control socket, bound and not yet listening
	fdDir      = 5 // the runtime directory
	fdLog      = 6 // the directory of the log
	fdExe      = 7 // of foreign helpers only: this binary
)

// bootFiles opens what the agent inherits, in the order of its descriptors.
func bootFiles(c *Config, dir *os.File) (files []*os.File, boot *net.UnixConn, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return files, nil, err
	}
	files = append(files, null, null)
	stderr, err := os.OpenFile(filepath.Join(c.Dir, errorName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return files, nil, err
	}
	files = append(files, stderr)
	boot, peer, err := socketPair()
	if err != nil {
		return files, nil, err
	}
	files = append(files, peer)
	listener, err := bindSocket(dir)
	if err != nil {
		boot.Close()
		return files, nil, err
	}
	files = append(files, listener)
	for _, path := range [...]string{c.Dir, filepath.Dir(c.LogPath)} {
		d, err := os.Open(path)
		if err != nil {
			boot.Close()
			return files, nil, err
		}
		files = append(files, d)
	}
	return files, boot, nil
}

// socketPair returns a connection for this process and a file for another.
func socketPair() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	peer := os.NewFile(uintptr(pair[1]), "socketpair")
	conn, err := fileConn(pair[0])
	if err != nil {
		peer.Close()
		return nil, nil, err
	}
	return conn, peer, nil
}

// fileConn makes a connection of a descriptor, which it takes over.
func fileConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is no Unix socket", fd)
	}
	return u, nil
}

// bindSocket binds the control socket by way of the directory's descriptor: a
// socket address holds 107 bytes, the directory's path may be longer. It listens
// once the agent asks it to, and so carries the agent's credentials.
func bindSocket(dir *os.File) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), socketName)
	path := socketPath(dir)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		f.Close()
		return nil, fmt.Errorf("bind %s: %w", socketName, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func socketPath(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName)
}
