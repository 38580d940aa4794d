package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Launch makes the namespaces and the agent in them, and returns when the agent
// has built the sandbox and listens. ctx bounds the launch, not the life of the
// agent. When Launch fails it leaves nothing behind. The error is ErrForbidden
// where the host does not allow it.
func Launch(ctx context.Context, c Config) (*Agent, error) {
	a, err := launch(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", c.ID, err)
	}
	return a, nil
}

func launch(ctx context.Context, c Config) (_ *Agent, err error) {
	if err := normalize(&c); err != nil {
		return nil, err
	}
	dir, err := prepareDir(&c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dir.Close()
			Remove(c.Dir)
			if info, serr := os.Stat(c.LogPath); serr == nil && info.Size() == 0 {
				os.Remove(c.LogPath)
			}
		}
	}()
	files, boot, err := bootFiles(&c, dir)
	defer closeFiles(files)
	if err != nil {
		return nil, err
	}
	defer boot.Close()
	process, err := clone(&c, files)
	if err != nil {
		return nil, err
	}
	closeFiles(files) // the agent's end of boot must not stay open here
	a := &Agent{id: c.ID, path: c.Dir, dir: dir, pid: process.Pid, died: make(chan struct{}), dials: newDials()}
	go a.reap(process)
	if err = a.boot(ctx, boot, &c); err != nil {
		process.Kill()
		<-a.died
		return nil, err
	}
	if err = a.openPIDFD(); err != nil {
		process.Kill()
		<-a.died
		return nil, err
	}
	return a, nil
}

// reap waits for the agent, which is a child of this process, so that no zombie
// is left. The goroutine ends with the agent.
func (a *Agent) reap(process *os.Process) {
	process.Wait()
	close(a.died)
}

func normalize(c *Config) error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("runtime directory %q is not an absolute path", c.Dir)
	}
	if c.LogPath == "" {
		c.LogPath = filepath.Join(c.Dir, LogName)
	}
	if c.LogSize <= 0 {
		c.LogSize = 10 << 20
	}
	if c.LogFiles <= 0 {
		c.LogFiles = 2
	}
	if c.Exe == "" {
		// Resolved by the child itself: right also when the file was replaced.
		c.Exe = "/proc/self/exe"
	}
	if c.Rootfs != "" {
		root, err := filepath.Abs(c.Rootfs)
		if err != nil {
			return err
		}
		info, err := os.Stat(root)
		if err != nil {
			return fmt.Errorf("root directory: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("root directory: %s is not a directory", root)
		}
		if c.Rootfs = root; root == "/" {
			c.Rootfs = ""
		}
	}
	if len(c.Hostname) > 64 || len(c.Domainname) > 64 {
		return fmt.Errorf("hostname %q, domain name %q: at most 64 bytes each are possible", c.Hostname, c.Domainname)
	}
	for name := range c.Sysctls {
		if err := checkSysctlPath(name); err != nil {
			return err
		}
	}
	return nil
}

// prepareDir makes the runtime directory and the files the sandbox binds.
func prepareDir(c *Config) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.Dir, 0o700); err != nil && !os.IsExist(err) {
		return nil, err
	}
	dir, err := os.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(c.Dir, socketName)); err == nil {
		// Only an agent that died leaves its socket: nobody answers there.
		if conn, err := dial(context.Background(), dir); err == nil {
			conn.Close()
			dir.Close()
			return nil, fmt.Errorf("an agent is running in %s", c.Dir)
		}
	}
	err = errors.Join(os.Chmod(c.Dir, 0o700),
		removeIfThere(filepath.Join(c.Dir, socketName)), removeIfThere(filepath.Join(c.Dir, statusName)),
		os.WriteFile(filepath.Join(c.Dir, hostsName), c.Hosts, 0o644),
		os.WriteFile(filepath.Join(c.Dir, resolvName), c.ResolvConf, 0o644),
		os.WriteFile(filepath.Join(c.Dir, hostnameName), []byte(c.Hostname+"\n"), 0o644))
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// clone starts the agent in its namespaces, with every capability over them.
func clone(c *Config, files []*os.File) (*os.Process, error) {
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID)
	if !c.HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	closeOnExec()
	process, err := os.StartProcess(c.Exe, []string{"weft-agent " + c.ID, AgentArg}, &os.ProcAttr{
		Dir:   "/",
		Env:   agentEnv(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Cloneflags: flags, Setsid: true, AmbientCaps: allCapabilities()},
	})
	if err != nil {
		return nil, explainClone(err)
	}
	return process, nil
}

// closeOnExec keeps from the agent what this process itself inherited, such as a
// pipe of the shell it was started from, whose reader would wait for the agent.
func closeOnExec() {
	if unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC) == nil { // Linux 5.11
		return
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// agentEnv keeps a thousand idle agents small.
func agentEnv() []string { return []string{"GOMAXPROCS=2", "GOGC=50"} }

// allCapabilities lists the capabilities this kernel knows.
func allCapabilities() []uintptr {
	last := unix.CAP_LAST_CAP
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		fmt.Sscan(strings.TrimSpace(string(b)), &last)
	}
	caps := make([]uintptr, last+1)
	for i := range caps {
		caps[i] = uintptr(i)
	}
	return caps
}

// boot gives the agent its ids and its configuration and waits until it listens.
func (a *Agent) boot(ctx context.Context, boot *net.UnixConn, c *Config) error {
	warning, err := writeMaps(a.pid, c.SingleID)
	if err != nil {
		return explainMap(err)
	}
	stop := interrupt(ctx, boot)
	defer stop()
	var r reply
	err = send(boot, request{Op: opBoot, Config: c}, nil)
	if err == nil {
		_, err = receive(boot, &r)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("launch: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("agent died while it built the sandbox: %w%s", err, a.lastWords())
	case r.err() != nil:
		return explainSetup(r.err())
	}
	if a.warnings = r.Warnings; warning != "" {
		a.warnings = append([]string{warning}, a.warnings...)
	}
	return nil
}

// lastWords returns what the agent wrote to its standard error, a panic at most.
func (a *Agent) lastWords() string {
	b, err := os.ReadFile(filepath.Join(a.path, errorName))
	if err != nil || len(b) == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(b[:min(len(b), 2000)]))
}
