package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// Exit codes, as Docker's for run and exec.
const (
	exitFailed     = 1
	exitUsage      = 2
	exitOwnFailure = 125 // weft failed before the command ran
	exitCannotRun  = 126
	exitNotFound   = 127

	exitInterrupted = 130 // 128 and SIGINT, as a shell has it
)

// An exitError carries the process's exit code. A nil err prints nothing: the
// code is all there is to say (a command in a sandbox ended with it).
type exitError struct {
	code int
	err  error
}

// Error returns the message, empty for a bare exit code.
func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

// A usageError is a wrong command line: flags, or the number of arguments.
type usageError struct {
	cmd *cobra.Command
	err error
}

// Error returns the message alone.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *usageError) Unwrap() error { return e.err }

func usagef(c *cobra.Command, format string, args ...any) error {
	return &usageError{cmd: c, err: fmt.Errorf(format, args...)}
}

// plainFlag says of a flag's value what was expected, where cobra names the
// function that refused it.
func plainFlag(err error) error {
	if head, _, ok := strings.Cut(err.Error(), ": time: "); ok {
		return fmt.Errorf("%s: expected a number with its unit, such as 10s or 500ms", head)
	}
	head, rest, ok := strings.Cut(err.Error(), ": strconv.Parse")
	if !ok {
		return err
	}
	expected := "a number"
	switch {
	case strings.HasPrefix(rest, "Bool"):
		expected = "true or false"
	case strings.HasSuffix(rest, "value out of range"):
		expected = "a smaller number"
	}
	return fmt.Errorf("%s: expected %s", head, expected)
}

// exitCode is what the process ends with. Commands annotated with "docker-exit"
// fail with 125, as docker run does, where others fail with 1 or 2.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	var usage *usageError
	if errors.As(err, &usage) {
		if usage.cmd != nil && usage.cmd.Annotations[dockerExit] != "" {
			return exitOwnFailure
		}
		return exitUsage
	}
	return exitFailed
}

// dockerExit is the annotation of commands whose usage errors exit with 125.
const dockerExit = "docker-exit"

// report prints an error for the user, and for a wrong command line where to
// read about it.
func report(w io.Writer, err error) {
	msg := message(err)
	if msg == "" {
		return
	}
	fmt.Fprintf(w, "weft: %s\n", msg)
	var usage *usageError
	if errors.As(err, &usage) && usage.cmd != nil {
		fmt.Fprintf(w, "Run '%s --help' for its flags.\n", usage.cmd.CommandPath())
	}
}

// message is the error's text without the phrases that Docker's client library
// puts before what the daemon said.
func message(err error) string {
	msg := strings.ReplaceAll(err.Error(), "Error response from daemon: ", "")
	if client.IsErrConnectionFailed(err) {
		for _, docker := range []string{"failed to connect to the docker API at", "Cannot connect to the Docker daemon at"} {
			msg = strings.Replace(msg, docker, "no daemon answers at", 1)
		}
		msg = strings.Replace(msg, "; check if the path is correct and if the daemon is running", "", 1)
		msg = strings.Replace(msg, "Is the docker daemon running?", "Start one with `weft daemon`.", 1)
	}
	return strings.TrimSpace(msg)
}

// Argument counts, as usage errors.

func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef(c, "%q needs exactly %d argument%s (%s), got %d", c.CommandPath(), n, plural(n), what, len(args))
		}
		return nil
	}
}

func minArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < n {
			return usagef(c, "%q needs at least %d argument%s (%s), got %d", c.CommandPath(), n, plural(n), what, len(args))
		}
		return nil
	}
}

func maxArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef(c, "%q takes at most %d argument%s (%s), got %d", c.CommandPath(), n, plural(n), what, len(args))
		}
		return nil
	}
}

func rangeArgs(low, high int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := minArgs(low, what)(c, args); err != nil {
			return err
		}
		return maxArgs(high, what)(c, args)
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) != 0 {
		return usagef(c, "%q takes no arguments, got %q", c.CommandPath(), args)
	}
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
