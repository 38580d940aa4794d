package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// start starts the main process.
func (a *agent) start(p *Process) error {
	if p == nil {
		return errors.New("start: no process given")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.main != nil {
		return ErrRunning
	}
	streams, err := a.mainStreams(p)
	if err != nil {
		return err
	}
	defer closeFiles(streams.child)
	main, err := a.reaper.startProcess(p, streams.child)
	if err != nil {
		closeFiles(streams.outputs)
		closeFiles([]*os.File{streams.input})
		return err
	}
	a.main, a.phase, a.started, a.tty = main, Running, time.Now(), p.TTY
	if p.TTY {
		a.terminal = streams.outputs[0]
		streams.input = a.terminal
	}
	for i, f := range streams.outputs {
		a.hub.copyFrom(f, Stdout+i)
	}
	a.stdin.open(streams.input, p.TTY, p.StdinOnce)
	return nil
}

// streams are the two sides of a main process's standard streams.
type streams struct {
	child   []*os.File // standard input, output, error; the first may be nil
	input   *os.File   // what clients write to; nil for none
	outputs []*os.File // what the hub reads
}

func (a *agent) mainStreams(p *Process) (s streams, err error) {
	if p.TTY {
		master, slave, err := a.openTerminal(p.Rows, p.Cols)
		if err != nil {
			return s, err
		}
		return streams{child: []*os.File{slave, slave, slave}, outputs: []*os.File{master}}, nil
	}
	defer func() {
		if err != nil {
			closeFiles(append(append(s.child, s.outputs...), s.input))
		}
	}()
	s.child = []*os.File{nil}
	if p.OpenStdin {
		if s.child[0], s.input, err = pipe(false); err != nil {
			return s, err
		}
	}
	for range 2 {
		r, w, err := pipe(true)
		if err != nil {
			return s, err
		}
		s.child, s.outputs = append(s.child, w), append(s.outputs, r)
	}
	return s, nil
}

// pipe returns a pipe whose one end, the agent's, does not block; the other end,
// a process's, does, as programs expect.
func pipe(reading bool) (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	own := p[1]
	if reading {
		own = p[0]
	}
	unix.SetNonblock(own, true)
	return os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe"), nil
}

// startProcess starts a program with the given standard streams, nil being
// /dev/null. A terminal becomes the controlling one.
func (r *reaper) startProcess(p *Process, stdio []*os.File) (*child, error) {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return nil, fmt.Errorf("%w: no command given", ErrNotFound)
	}
	dir := p.Dir
	if dir == "" {
		dir = "/"
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	path, err := lookPath(p.Args[0], dir, p.Env)
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{Dir: dir, Env: p.Env, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: p.TTY}}
	for i, f := range stdio {
		fd := uintptr(i) // the agent's own streams are /dev/null
		if i == 2 {
			fd = 1
		}
		if f != nil {
			if err := control(f, func(n int) { fd = uintptr(n) }); err != nil {
				return nil, err
			}
		}
		attr.Files = append(attr.Files, fd)
	}
	c, err := r.start(path, p.Args, attr)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%w: exec %s: its interpreter or loader is missing", ErrNotFound, path)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: exec %s: %w", ErrPermission, path, err)
	case err != nil && !errors.Is(err, ErrNotRunning):
		return nil, fmt.Errorf("exec %s: %w", path, err)
	}
	return c, err
}

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w %s does not exist in the sandbox", ErrWorkDir, dir)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrWorkDir, err)
	case !info.IsDir():
		return fmt.Errorf("%w %s is not a directory", ErrWorkDir, dir)
	case unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS) != nil:
		return fmt.Errorf("%w %s may not be entered", ErrWorkDir, dir)
	}
	return nil
}

// lookPath finds a program inside the sandbox, by the PATH of its environment.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path, checkProgram(path)
	}
	search := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	var denied error
	for _, d := range filepath.SplitList(search) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		path := filepath.Join(d, name)
		if _, err := os.Stat(path); err != nil {
			continue // a directory that may not be searched hides nothing, as in execvp(3)
		}
		err := checkProgram(path)
		if err == nil {
			return path, nil
		}
		if denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("%w: exec: %q: executable file not found in $PATH", ErrNotFound, name)
}

func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: stat %s: no such file or directory", ErrNotFound, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case info.IsDir():
		return fmt.Errorf("%w: %s is a directory", ErrPermission, path)
	case unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil:
		return fmt.Errorf("%w: %s is not executable", ErrPermission, path)
	}
	return nil
}

// resize sets the size of the main process's terminal.
func (a *agent) resize(rows, cols uint16) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.main == nil || a.ending {
		return ErrNotRunning
	}
	if a.terminal == nil {
		return errors.New("the main process has no terminal")
	}
	return setSize(a.terminal, rows, cols)
}
