package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// An app is one run of the weft command: its streams and the flags that every
// command has.
type app struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string

	host string // --host
}

// Main runs one weft command line (without the program's name) and returns the
// exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr, getenv: os.Getenv}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err != nil {
		report(stderr, err)
	}
	return exitCode(err)
}

// root builds the command tree. Building it does no I/O.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "weft COMMAND",
		Short:         "Docker-swarm networking without root and without the kernel's data path",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          group,
		Args:          cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{cmd: c, err: plainFlag(err)} })
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	root.PersistentFlags().StringVarP(&a.host, "host", "H", "", "Daemon socket to use, such as unix:///run/weft/weft.sock (default $WEFT_HOST, else the user's own)")
	root.PersistentFlags().BoolP("help", "h", false, "Print usage")
	root.AddGroup(
		&cobra.Group{ID: groupSandbox, Title: "Sandboxes:"},
		&cobra.Group{ID: groupNetwork, Title: "Networks and swarms:"},
		&cobra.Group{ID: groupLook, Title: "Look inside:"},
		&cobra.Group{ID: groupNode, Title: "This node:"},
	)
	add := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	add(groupSandbox, a.runCmd(), a.execCmd(), a.psCmd(), a.logsCmd(), a.startCmd(), a.stopCmd(), a.restartCmd(),
		a.killCmd(), a.rmCmd(), a.waitCmd(), a.renameCmd(), a.inspectCmd(), a.portCmd(), a.attachCmd(), a.detachCmd())
	add(groupNetwork, a.networkCmd(), a.swarmCmd(), a.nodeCmd())
	add(groupLook, a.captureCmd(), a.replayCmd(), a.traceCmd(), a.fdbCmd(), a.arpCmd(), a.peersCmd(), a.keysCmd(), a.conntrackCmd(), a.dnsCmd(), a.statsCmd(), a.topCmd(), a.eventsCmd())
	add(groupNode, a.daemonCmd(), a.doctorCmd(), a.infoCmd(), a.versionCmd(), a.demoCmd(), a.benchCmd())
	root.AddCommand(a.toolCmd())
	root.SetHelpCommandGroupID(groupNode)
	root.SetCompletionCommandGroupID(groupNode)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	tidy(root)
	strict(root)
	a.complete(root)
	return root
}

// strict makes usage errors of what cobra itself brings: help of a command that
// does not exist, a shell that it does not know.
func strict(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args, c.RunE = cobra.ArbitraryArgs, group
			for _, shell := range c.Commands() {
				shell.Args = noArgs
			}
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if sub, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return group(sub, rest)
				}
				return nil
			}
		}
	}
}

// usageTemplate is cobra's with one line per way to call a command, and with
// placeholders written as everywhere else.
func usageTemplate(t string) string {
	return strings.NewReplacer(
		"{{if .HasAvailableSubCommands}}\n  {{.CommandPath}} [command]{{end}}", "{{if not .Runnable}}\n  {{.CommandPath}} COMMAND{{end}}",
		"[command]", "COMMAND",
	).Replace(t)
}

// tidy sets what every command has alike.
func tidy(c *cobra.Command) {
	c.DisableFlagsInUseLine = true
	c.SuggestionsMinimumDistance = 2
	for _, sub := range c.Commands() {
		tidy(sub)
	}
}

// Command groups in the help text.
const (
	groupSandbox = "sandbox"
	groupNetwork = "network"
	groupLook    = "look"
	groupNode    = "node"
)

// group is what a command that only holds others does: its help, or a word about
// the subcommand that does not exist.
func group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef(c, "%q is not a command of %q%s", args[0], c.CommandPath(), hint)
}
