package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) runCmd() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run [FLAGS] [--] COMMAND [ARG...]",
		Short: "Run a command in a new sandbox",
		Long: "Run a command in a new sandbox: namespaces of its own, with one interface per network.\n\n" +
			"Without --rootfs the command sees the caller's file tree with the caller's rights, and has the caller's\n" +
			"environment. Exit codes are Docker's: 125 weft failed, 126 the command cannot be run, 127 it was not\n" +
			"found, otherwise the command's own.",
		Example:     "  weft run --rm -it bash\n  weft run -d --name web --network front -- python3 -m http.server 80",
		Args:        minArgs(1, "COMMAND"),
		Annotations: map[string]string{dockerExit: "run"},
	}
	f.bind(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := f.check(c); err != nil {
			return err
		}
		return ownFailure(a.run(c.Context(), &f, args))
	}
	return c
}

// ownFailure gives an error without an exit code of its own that of `docker
// run`: 125.
func ownFailure(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{code: exitOwnFailure, err: err}
}

func (a *app) run(ctx context.Context, f *runFlags, cmd []string) error {
	if err := f.directories(); err != nil {
		return err
	}
	if err := a.checkInput(f.interactive && !f.detach, f.tty); err != nil {
		return err
	}
	opts, err := f.createOptions(cmd, os.Environ())
	if err != nil {
		return err
	}
	if w, h, ok := terminalSize(a.out, a.in); ok && f.tty {
		opts.HostConfig.ConsoleSize = [2]uint{uint(h), uint(w)}
	}
	c, err := a.connect(true)
	if err != nil {
		return err
	}
	made, err := c.ContainerCreate(ctx, opts)
	if err != nil {
		return err
	}
	for _, w := range made.Warnings {
		fmt.Fprintf(a.err, "weft: warning: %s\n", w)
	}
	if f.detach {
		if err := a.startSandbox(ctx, c, made.ID); err != nil {
			return failedStart(ctx, c, made.ID, cmd[0], f.remove, err)
		}
		fmt.Fprintln(a.out, made.ID)
		return nil
	}
	return a.runForeground(ctx, c, f, made.ID, cmd[0])
}

// runForeground attaches, then starts, so that no byte of output is missed, and
// ends with the command's exit code.
func (a *app) runForeground(ctx context.Context, c *api.Client, f *runFlags, id, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := a.catchSignals(f.sigProxy && !f.tty)
	defer signals.stop()

	s := session{
		stdin: f.interactive, tty: f.tty, detachKeys: f.detachKeys,
		resize: func(w, h uint) error {
			_, err := c.ContainerResize(ctx, id, client.ContainerResizeOptions{Width: w, Height: h})
			return err
		},
	}
	att, err := c.ContainerAttach(ctx, id, client.ContainerAttachOptions{
		Stream: true, Stdin: f.interactive, Stdout: true, Stderr: true, DetachKeys: f.detachKeys,
	})
	if err != nil {
		return err
	}
	defer att.Close()
	condition := container.WaitConditionNextExit
	if f.remove {
		condition = container.WaitConditionRemoved
	}
	exited := c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: condition})
	if err := a.startSandbox(ctx, c, id); err != nil {
		return failedStart(ctx, c, id, name, f.remove, err)
	}
	signals.forward(func(sig string) error {
		_, err := c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: sig})
		return err
	})
	err = a.stream(s, att.HijackedResponse)
	switch {
	case errors.Is(err, errDetached):
		return nil
	case errors.Is(err, syscall.EPIPE):
		return a.readerGone(ctx, c, id, att.Reader, exited)
	case err != nil && !unreachable(err):
		return fmt.Errorf("the connection to the sandbox broke: %w", err)
	}
	return waitExit(exited, id)
}

// readerGone does for the sandbox's command what the kernel does for one that
// runs outside: `weft run yes | head -1` ends it by SIGPIPE. What it still
// prints goes nowhere.
func (a *app) readerGone(ctx context.Context, c *api.Client, id string, rest io.Reader, exited client.ContainerWaitResult) error {
	if _, err := c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: brokenPipe}); err != nil && !errdefs.IsConflict(err) {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, rest) }() // ends with the connection
	return waitExit(exited, id)
}

// waitExit turns the exit that ContainerWait reports into this process's own.
func waitExit(w client.ContainerWaitResult, id string) error {
	select {
	case r := <-w.Result:
		if r.Error != nil && r.Error.Message != "" {
			if stopping(r.Error.Message) {
				return backTo(id)
			}
			return &exitError{code: exitOwnFailure, err: errors.New(r.Error.Message)}
		}
		if r.StatusCode == 0 {
			return nil
		}
		return &exitError{code: int(r.StatusCode)}
	case err := <-w.Error:
		if unreachable(err) {
			return backTo(id)
		}
		return fmt.Errorf("waiting for the sandbox: %w", err)
	}
}

// stopping reports whether the daemon's last word on a wait was that it ends.
func stopping(msg string) bool {
	return strings.Contains(msg, "the daemon is stopping") || msg == context.Canceled.Error()
}

// backTo says how to come back to a sandbox that goes on without the daemon.
func backTo(id string) error {
	return goneError("this one too; start a daemon again, then `weft attach %s`", shortID(id, false))
}

func (a *app) startSandbox(ctx context.Context, c *api.Client, id string) error {
	_, err := c.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return err
}

// failedStart gives a failure to start the exit code that the daemon recorded
// for it. A sandbox that was to be removed at its end is removed now, if the
// daemon has not done so.
func failedStart(ctx context.Context, c *api.Client, id, cmd string, remove bool, err error) error {
	r, inspectErr := c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if inspectErr != nil || r.Container.State == nil {
		code := startCode(saidCode(cmd, err))
		return &exitError{code: code, err: noImages(code, cmd, err)}
	}
	if remove {
		if _, rmErr := c.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true}); rmErr != nil && !errdefs.IsNotFound(rmErr) {
			err = errors.Join(err, rmErr)
		}
	}
	code := startCode(r.Container.State.ExitCode)
	return &exitError{code: code, err: noImages(code, cmd, err)}
}

// noImages adds to a command's name that is not found what those who come from
// Docker do not expect: it is no image's name.
func noImages(code int, cmd string, err error) error {
	if code != exitNotFound || strings.HasPrefix(cmd, "/") {
		return err
	}
	return fmt.Errorf("%w\nthere are no images: the command is run from this machine's own files (or --rootfs DIR)", err)
}

// startCode is 126 or 127 when the daemon recorded that the command itself was
// at fault, and 125 when it never came to that.
func startCode(recorded int) int {
	if recorded == exitCannotRun || recorded == exitNotFound {
		return recorded
	}
	return exitOwnFailure
}

// saidCode is the code of a sandbox that was removed with its record (--rm), by
// the sentence that the daemon says of the command for Docker's own clients.
func saidCode(cmd string, err error) int {
	if strings.Contains(err.Error(), "unable to start container process: chdir: ") {
		return exitCannotRun
	}
	_, said, ok := strings.Cut(err.Error(), fmt.Sprintf("unable to start container process: exec: %q: ", cmd))
	switch {
	case ok && strings.HasPrefix(said, "executable file not found in $PATH"):
		return exitNotFound
	case ok && strings.HasPrefix(said, "permission denied"):
		return exitCannotRun
	}
	return exitOwnFailure
}

// checkInput refuses -it without a terminal to type on.
func (a *app) checkInput(attachStdin, tty bool) error {
	if attachStdin && tty && !isTerminal(a.in) {
		return errors.New("the input device is not a terminal: leave -t out, or use a terminal")
	}
	return nil
}
