package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/tap"
)

// Theory of operation: the agent
//
// One goroutine (run) owns the signals: it reaps on SIGCHLD and passes everything
// else on to the main process. Each control connection has a goroutine, each
// output pipe one that reads it, each attached client one that writes to it.
// agent.mu guards the phase, the interfaces and the terminal; reaper.mu guards the
// children and is taken by itself.

// An agent is PID 1 of one sandbox.
type agent struct {
	config Config
	dir    *os.File // runtime directory, also after the root was changed
	sys    *os.File // /proc/sys as it was mounted, writable
	ptsDir *os.File // root of the sandbox's devpts
	reaper reaper
	hub    hub
	log    *logFile
	dials  atomic.Int32 // connections being opened from inside

	mu       sync.Mutex
	phase    Phase
	ending   bool // the main process has ended: nothing new is started
	started  time.Time
	main     *child
	tty      bool
	terminal *os.File // master of the main process's terminal
	stdin    stdinPipe
	devices  []*tap.Device // in the order they were made
	// nameSockets are those of names, UDP and TCP, once they were asked for.
	nameSockets []*os.File

	execs    map[uint64]*child
	lastExec uint64

	exit ExitStatus
	done chan struct{} // closed when exit is valid and on disk
}

// Main is the agent, or another helper that this binary is re-executed as; args
// are those after AgentArg. It returns the process's exit code.
func Main(args []string) int {
	if len(args) == 1 && args[0] == foreignArg {
		return foreignMain()
	}
	if len(args) != 0 {
		fmt.Fprintf(os.Stderr, "weft: %s is started by weft itself only\n", AgentArg)
		return 2
	}
	return agentMain()
}

func agentMain() int {
	if os.Getpid() != 1 { // outside, the end of a sandbox would kill every process
		fmt.Fprintf(os.Stderr, "weft: %s is started by weft itself only\n", AgentArg)
		return 2
	}
	defaultSignals()
	for fd := fdBoot; fd <= fdLog; fd++ {
		unix.CloseOnExec(fd)
	}
	boot, err := fileConn(fdBoot)
	if err != nil {
		fmt.Fprintf(os.Stderr, "weft: %s is started by weft itself only: %v\n", AgentArg, err)
		return 2
	}
	a := &agent{phase: Created, done: make(chan struct{}), execs: make(map[uint64]*child)}
	a.stdin.ready = make(chan struct{})
	children, others := make(chan os.Signal, 1), make(chan os.Signal, 64)
	signal.Notify(children, unix.SIGCHLD)
	signal.Notify(others, forwarded()...)
	var q request
	if _, err := receive(boot, &q); err != nil || q.Config == nil {
		return 1 // the daemon died, or it could not map our ids
	}
	listener, warnings, err := a.build(q.Config)
	if err != nil {
		if !errors.Is(err, ErrForbidden) && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
			err = fmt.Errorf("%w: %w", ErrForbidden, err)
		}
		send(boot, failure(err), nil)
		return 1
	}
	if err := send(boot, reply{Warnings: warnings}, nil); err != nil {
		return 1 // nobody knows of us
	}
	boot.Close()
	s := newServer(a, listener)
	go s.accept()
	a.run(children, others)
	s.finish()
	return 0
}

// build makes the sandbox of the bare namespaces and opens the control socket.
func (a *agent) build(c *Config) (*net.UnixListener, []string, error) {
	a.config = *c
	a.dir = os.NewFile(fdDir, "runtime directory")
	logDir := os.NewFile(fdLog, "log directory")
	unix.Umask(0o022)
	os.WriteFile("/proc/self/comm", []byte("weft-agent"), 0) // what ps shows, no more
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return nil, nil, fmt.Errorf("set hostname %q: %w", c.Hostname, err)
	}
	if err := unix.Setdomainname([]byte(c.Domainname)); err != nil {
		return nil, nil, fmt.Errorf("set domain name %q: %w", c.Domainname, err)
	}
	a.reaper.withheld = withheld()
	warnings, err := a.mounts()
	if err != nil {
		return nil, nil, err
	}
	if !c.HostNetwork {
		if err := loopbackUp(); err != nil {
			return nil, nil, err
		}
	}
	more, err := a.sysctls()
	if err != nil {
		return nil, nil, err
	}
	if err := protectHost(); err != nil {
		return nil, nil, err
	}
	if a.log, err = openLog(logDir, c.LogPath, c.LogSize, c.LogFiles); err != nil {
		return nil, nil, err
	}
	a.hub.log = a.log
	// Listening makes the socket carry this process's id: see peerPID.
	if err := unix.Listen(fdListener, 128); err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	f := os.NewFile(fdListener, socketName)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, nil, err
	}
	return l.(*net.UnixListener), append(warnings, more...), nil
}

// forwarded lists the signals that PID 1 passes on: all but those that say
// something to this process itself.
func forwarded() (list []os.Signal) {
	for sig := syscall.Signal(1); sig < 65; sig++ {
		switch sig {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU, unix.SIGTSTP,
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		default:
			list = append(list, sig)
		}
	}
	return list
}

// run is the life of PID 1: it ends when the sandbox has.
func (a *agent) run(children, others <-chan os.Signal) {
	for {
		select {
		case <-children:
			a.reaper.reap()
			a.mu.Lock()
			main := a.main
			a.mu.Unlock()
			if main != nil && main.ended() {
				a.end(main)
				return
			}
		case s := <-others:
			a.signal(s.(syscall.Signal)) // nobody to pass it to is no error here
		}
	}
}

// end is the way from running to exited; see the package comment.
func (a *agent) end(main *child) {
	a.mu.Lock()
	a.ending = true
	a.mu.Unlock()
	a.reaper.killAll()
	a.hub.drain()
	a.log.close()
	a.mu.Lock()
	a.exit = main.status
	a.exit.Started, a.exit.LogError = a.started, a.log.problem()
	a.phase = Exited
	a.mu.Unlock()
	if err := writeStatus(a.dir, a.exit); err != nil {
		fmt.Fprintf(os.Stderr, "weft agent: exit status: %v\n", err)
	}
	close(a.done)
}

// signal sends the main process a signal.
func (a *agent) signal(sig syscall.Signal) error {
	a.mu.Lock()
	main := a.main
	a.mu.Unlock()
	if main == nil {
		return ErrNotRunning
	}
	return a.reaper.signal(main, sig)
}

// writeStatus leaves the exit status in the runtime directory, whole or not at
// all.
func writeStatus(dir *os.File, s ExitStatus) error {
	b, err := json.Marshal(statusFile{Version: statusVersion, ExitStatus: s})
	if err != nil {
		return err
	}
	const fresh = statusName + ".new"
	fd, err := unix.Openat(int(dir.Fd()), fresh, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), fresh)
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return unix.Renameat(int(dir.Fd()), fresh, int(dir.Fd()), statusName)
}

func (a *agent) state() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := State{Phase: a.phase, Started: a.started, TTY: a.tty, LogError: a.log.problem()}
	if a.phase == Exited {
		exit := a.exit
		s.Exit = &exit
	}
	return s
}
