package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"weft/internal/cnm"
)

// Theory of operation: the sockets of names
//
// A sandbox's name server is the daemon, on sockets that the agent opened at 127.0.0.11,
// port 53: its own duplicates keep them when the daemon dies, with the questions that
// come meanwhile, and the next one is passed the same. They are opened when they are first asked for
// and stay to the end. The agent itself never reads them.
//
// Programs inside may want port 53 of all addresses for a server of their own. SO_REUSEADDR and
// SO_REUSEPORT let those who set the same have it, datagrams and connections to 127.0.0.11
// still coming here, for that address is the more precise one.

// namesPort is where DNS is answered (RFC 1035, 4.2).
const namesPort = 53

// backlog is how many connections wait to be accepted.
const backlog = 128

// names returns duplicates of the sockets, UDP and TCP, and opens them the first time.
func (a *agent) names() ([]*os.File, error) {
	if a.config.HostNetwork {
		return nil, errors.New("the sandbox is in the host's network namespace: it has no name server of its own")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending {
		return nil, ErrNotRunning
	}
	if a.nameSockets == nil {
		udp, err := openNames(unix.SOCK_DGRAM)
		if err != nil {
			return nil, err
		}
		tcp, err := openNames(unix.SOCK_STREAM)
		if err != nil {
			udp.Close()
			return nil, err
		}
		a.nameSockets = []*os.File{udp, tcp}
	}
	var out []*os.File
	for _, f := range a.nameSockets {
		d, err := duplicate(f)
		if err != nil {
			closeFiles(out)
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// openNames opens one of the sockets, which is not to be read here and so has no place
// in the runtime's poller.
func openNames(kind int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	at := netip.AddrPortFrom(cnm.EmbeddedDNS, namesPort)
	f := os.NewFile(uintptr(fd), at.String())
	for _, o := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1)
		}
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: namesPort})
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", at, err)
	}
	return f, nil
}

func duplicate(f *os.File) (d *os.File, err error) {
	cerr := control(f, func(fd int) {
		var n int
		if n, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			d = os.NewFile(uintptr(n), f.Name())
		}
	})
	return d, errors.Join(cerr, err)
}

// dial opens a connection from inside and returns its socket. It takes dialTimeout at
// most, and there are maxDials at a time.
func (a *agent) dial(network, address string) (*os.File, error) {
	if network != "udp" && network != "tcp" {
		return nil, fmt.Errorf("network %q: expected udp or tcp", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err // nothing is looked up here
	}
	if a.dials.Add(1) > maxDials {
		a.dials.Add(-1)
		return nil, fmt.Errorf("%d connections are being opened already", maxDials)
	}
	defer a.dials.Add(-1)
	d := net.Dialer{Timeout: dialTimeout}
	d.SetMultipathTCP(false)
	c, err := d.Dial(network, to.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(interface{ File() (*os.File, error) }).File()
}
