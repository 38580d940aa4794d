package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"weft/internal/node"
)

// Which daemon a command talks to: --host, else WEFT_HOST, else the user's own
// socket. A daemon is started by itself only for the last one.
//
// The user's own places:
//
//	          runtime (socket, sandboxes)      data (networks, journal, log)
//	root      /run/weft                        /var/lib/weft
//	others    $XDG_RUNTIME_DIR/weft            $XDG_DATA_HOME/weft
//	          without it /tmp/weft-UID         without it ~/.local/share/weft

// A hostChoice is the daemon socket a command uses.
type hostChoice struct {
	url      string // unix:///path or another scheme the API client knows
	explicit bool   // the user named it: never start a daemon for it
}

// path is the socket's path, empty when it is no unix socket.
func (h hostChoice) path() string {
	p, ok := strings.CutPrefix(h.url, "unix://")
	if !ok {
		return ""
	}
	return p
}

// runDir is where the daemon of this socket keeps its sandboxes' sockets.
func (h hostChoice) runDir(dataDir string) string {
	switch p := h.path(); {
	case p == "":
		return filepath.Join(dataDir, "run")
	case h.explicit:
		return strings.TrimSuffix(p, ".sock") + ".run"
	default:
		return filepath.Dir(p)
	}
}

// chooseHost picks the socket. It makes no directory.
func (a *app) chooseHost() (hostChoice, error) {
	given := a.host
	if given == "" {
		given = a.getenv("WEFT_HOST")
	}
	if given != "" {
		url, err := hostURL(given)
		if err != nil {
			return hostChoice{}, &usageError{err: err}
		}
		return hostChoice{url: url, explicit: true}, nil
	}
	dir, err := a.runtimeDir()
	if err != nil {
		return hostChoice{}, err
	}
	return hostChoice{url: "unix://" + filepath.Join(dir, "weft.sock")}, nil
}

// hostURL completes what a user may write as a host: a path alone is a socket.
func hostURL(s string) (string, error) {
	switch {
	case strings.HasPrefix(s, "unix://"):
		p := strings.TrimPrefix(s, "unix://")
		if !filepath.IsAbs(p) {
			return "", fmt.Errorf("host %q: expected an absolute path after unix://, such as unix:///run/weft/weft.sock", s)
		}
		if len(p) > node.MaxSocketPath {
			return "", fmt.Errorf("host %s: the path has %d bytes, a socket's can have %d: choose a shorter one", s, len(p), node.MaxSocketPath)
		}
		return s, nil
	case strings.HasPrefix(s, "tcp://"):
		return s, nil
	case strings.Contains(s, "://"):
		return "", fmt.Errorf("host %q: expected unix:///path/of/socket or tcp://ADDRESS:PORT", s)
	case filepath.IsAbs(s):
		return hostURL("unix://" + s)
	}
	return "", fmt.Errorf("host %q: expected a socket such as unix:///run/weft/weft.sock", s)
}

// checkListen refuses to serve where others could reach the API: it asks nobody
// who they are. A Unix socket is guarded by its mode, a loopback address only by
// who may log in to this machine.
func checkListen(host string) error {
	addr, ok := strings.CutPrefix(host, "tcp://")
	if !ok {
		return nil
	}
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return &usageError{err: fmt.Errorf("host %s: expected tcp://ADDRESS:PORT: %w", host, err)}
	}
	if ip, err := netip.ParseAddr(name); name == "localhost" || err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return &usageError{err: fmt.Errorf("host %s: expected a loopback address such as tcp://127.0.0.1:2375: there is no authentication, so whoever "+
		"reaches the port could run commands as you; to reach this daemon from elsewhere, let it listen on a unix socket and "+
		"forward that with `ssh -L /tmp/weft.sock:SOCKET HOST`", host)}
}

// runtimeDir is where the user's own daemon has its socket.
func (a *app) runtimeDir() (string, error) {
	uid := os.Getuid()
	if uid == 0 {
		return "/run/weft", nil
	}
	if d := a.getenv("XDG_RUNTIME_DIR"); d != "" && ownedDir(d, uid) == nil {
		return filepath.Join(d, "weft"), nil
	}
	if uid < 0 { // no such thing here (windows)
		return filepath.Join(os.TempDir(), "weft"), nil
	}
	return filepath.Join("/tmp", "weft-"+strconv.Itoa(uid)), nil
}

// dataDir is where the user's own daemon keeps its state.
func (a *app) dataDir() (string, error) {
	if os.Getuid() == 0 {
		return "/var/lib/weft", nil
	}
	if d := a.getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "weft"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || home == "" {
		return "", errors.New("no place for the daemon's data: set HOME or XDG_DATA_HOME, or give --data-dir")
	}
	return filepath.Join(home, ".local", "share", "weft"), nil
}

// privateDir makes a directory that only this user can enter, and refuses one
// that somebody else made or can write: /tmp is everybody's.
func privateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := ownedDir(dir, os.Getuid()); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// ownedDir checks that dir is a real directory of uid.
func ownedDir(dir string, uid int) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory: remove it", dir)
	}
	if owner, ok := ownerOf(st); ok && owner != uid {
		return fmt.Errorf("%s belongs to user %d, not to you (%d): remove it, or set XDG_RUNTIME_DIR to a directory of your own", dir, owner, uid)
	}
	return nil
}
