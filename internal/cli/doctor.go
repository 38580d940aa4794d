package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/node"
)

func (a *app) doctorCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "doctor [FLAGS]", Short: "Check what this host allows, and say how to mend what it does not",
		Long: "Check what this host allows: user namespaces, /dev/net/tun, offloads and the rest that weft needs or is better\n" +
			"with. Exit code 1 when something that weft needs is missing.",
		Args: noArgs,
	}
	f.bind(c, "Condition such as status=fail, name=tun")
	c.RunE = func(c *cobra.Command, _ []string) error {
		checks, err := a.checks(c.Context())
		if err != nil {
			return err
		}
		if f.format == "" && !f.quiet && len(f.filters.m) == 0 {
			printChecks(a.out, checks, isTerminal(a.out))
		} else if err := a.printList(c, &f, checkListing(), checkRecords(checks)); err != nil {
			return err
		}
		for _, ch := range checks {
			if ch.Status == node.Fail {
				return &exitError{code: exitFailed}
			}
		}
		return nil
	}
	return c
}

// checks asks the daemon that runs, or was named; without one it looks itself.
func (a *app) checks(ctx context.Context) ([]api.Check, error) {
	h, err := a.chooseHost()
	if err != nil {
		return nil, err
	}
	if p := h.path(); p == "" || (daemonSupported && answers(p)) {
		cl, err := a.connect(false)
		if err != nil {
			return nil, err
		}
		checks, err := cl.Doctor(ctx)
		if !unreachable(err) {
			return checks, err
		}
	}
	data, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.err, "weft: no daemon runs at %s: checked from here\n", h.url)
	own := node.Doctor(h.runDir(data))
	checks := make([]api.Check, len(own))
	for i, ch := range own {
		checks[i] = api.Check(ch)
	}
	return checks, nil
}

func checkListing() listing {
	return listing{
		headings: headings{"Name": "CHECK", "Status": "STATUS", "Found": "FOUND", "Advice": "ADVICE"},
		table:    `{{.Status}}\t{{.Name}}\t{{.Found}}\t{{.Advice}}`, quiet: "{{.Name}}",
	}
}

func checkRecords(checks []api.Check) []record {
	rows := make([]record, 0, len(checks))
	for _, ch := range checks {
		rows = append(rows, record{"Name": ch.Name, "Status": string(ch.Status), "Found": ch.Found, "Advice": ch.Advice})
	}
	return rows
}

// printChecks writes one line per check: status, name, what was found; advice
// stands below, where there is any.
func printChecks(w io.Writer, checks []api.Check, colour bool) {
	width := 0
	for _, ch := range checks {
		width = max(width, len(ch.Name))
	}
	for _, ch := range checks {
		fmt.Fprintf(w, "%s %-*s  %s\n", mark(ch.Status, colour), width, ch.Name, ch.Found)
		if ch.Advice != "" {
			indent := "\n" + strings.Repeat(" ", 8+width)
			fmt.Fprintf(w, "%s→ %s\n", indent[1:], strings.ReplaceAll(ch.Advice, "\n", indent+"  "))
		}
	}
}

func mark(s node.Status, colour bool) string {
	text := fmt.Sprintf("%-5s", s)
	if !colour {
		return text
	}
	switch s {
	case node.OK:
		return "\x1b[32m" + text + "\x1b[0m"
	case node.Warn:
		return "\x1b[33m" + text + "\x1b[0m"
	}
	return "\x1b[31m" + text + "\x1b[0m"
}
