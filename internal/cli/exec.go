package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

// execFlags are the flags of `weft exec`.
type execFlags struct {
	detach, interactive, tty bool
	detachKeys, workdir      string
	env, envFiles            []string
}

func (a *app) execCmd() *cobra.Command {
	var f execFlags
	c := &cobra.Command{
		Use:         "exec [FLAGS] SANDBOX [--] COMMAND [ARG...]",
		Short:       "Run a further command in a running sandbox",
		Example:     "  weft exec rose -- ip address\n  weft exec -it rose bash",
		Args:        execArgs,
		Annotations: map[string]string{dockerExit: "exec"},
	}
	fl := c.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.detach, "detach", "d", false, "Run in the background")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "Keep stdin open")
	fl.BoolVarP(&f.tty, "tty", "t", false, "Give the command a terminal")
	fl.StringVar(&f.detachKeys, "detach-keys", "", "Keys that detach from the command (default "+defaultDetachKeys+")")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "Environment variable, as KEY=VALUE, or KEY for the caller's value")
	fl.StringArrayVar(&f.envFiles, "env-file", nil, "File of environment variables")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "Working directory (default the sandbox's)")
	c.RunE = func(c *cobra.Command, args []string) error {
		if _, err := parseDetachKeys(f.detachKeys); err != nil {
			return usagef(c, "%w", err)
		}
		return a.exec(c.Context(), &f, args[0], dropDashes(args[1:]))
	}
	return c
}

func execArgs(c *cobra.Command, args []string) error {
	if len(args) < 1 || len(dropDashes(args[1:])) < 1 {
		return usagef(c, "%q needs at least 2 arguments (SANDBOX COMMAND), got %d", c.CommandPath(), len(args))
	}
	return nil
}

// dropDashes takes the -- away that may stand before the command.
func dropDashes(cmd []string) []string {
	if len(cmd) > 0 && cmd[0] == "--" {
		return cmd[1:]
	}
	return cmd
}

func (a *app) exec(ctx context.Context, f *execFlags, sandbox string, cmd []string) error {
	if err := a.checkInput(f.interactive && !f.detach, f.tty); err != nil {
		return err
	}
	env, err := environment(nil, f.envFiles, f.env, os.LookupEnv)
	if err != nil {
		return err
	}
	c, err := a.connect(false)
	if err != nil {
		return err
	}
	attach := !f.detach
	o := client.ExecCreateOptions{
		TTY: f.tty, AttachStdin: f.interactive && attach, AttachStdout: attach, AttachStderr: attach,
		DetachKeys: f.detachKeys, Env: env, WorkingDir: f.workdir, Cmd: cmd,
	}
	size := client.ConsoleSize{}
	if w, h, ok := terminalSize(a.out, a.in); ok && f.tty {
		size = client.ConsoleSize{Height: uint(h), Width: uint(w)}
		o.ConsoleSize = size
	}
	made, err := c.ExecCreate(ctx, sandbox, o)
	if err != nil {
		return err
	}
	if f.detach {
		_, err := c.ExecStart(ctx, made.ID, client.ExecStartOptions{Detach: true, TTY: f.tty, ConsoleSize: size})
		return whyNotStarted(ctx, c, made.ID, err)
	}
	return a.execForeground(ctx, c, f, made.ID, size)
}

func (a *app) execForeground(ctx context.Context, c *api.Client, f *execFlags, id string, size client.ConsoleSize) error {
	att, err := c.ExecAttach(ctx, id, client.ExecAttachOptions{TTY: f.tty, ConsoleSize: size})
	if err != nil {
		return err
	}
	defer att.Close()
	err = a.stream(session{
		stdin: f.interactive, tty: f.tty, detachKeys: f.detachKeys,
		resize: func(w, h uint) error {
			_, err := c.ExecResize(ctx, id, client.ExecResizeOptions{Width: w, Height: h})
			return err
		},
	}, att.HijackedResponse)
	if errors.Is(err, errDetached) {
		return nil
	}
	if err != nil && !unreachable(err) {
		return fmt.Errorf("the connection to the command broke: %w", err)
	}
	r, err := c.ExecInspect(ctx, id, client.ExecInspectOptions{})
	if err != nil {
		return orGone(fmt.Errorf("the command's exit code is not known: %w", err), "but this command's output and exit code are lost")
	}
	if r.Running {
		return goneError("but this command's output is lost")
	}
	if r.ExitCode != 0 {
		return &exitError{code: r.ExitCode}
	}
	return nil
}

// whyNotStarted gives an exec that did not start the exit code that the daemon
// keeps of it, which is Docker's.
func whyNotStarted(ctx context.Context, c *api.Client, id string, err error) error {
	if err == nil {
		return nil
	}
	r, inspectErr := c.ExecInspect(ctx, id, client.ExecInspectOptions{})
	if inspectErr == nil && (r.ExitCode == exitNotFound || r.ExitCode == exitCannotRun) {
		return &exitError{code: r.ExitCode, err: err}
	}
	return err
}
