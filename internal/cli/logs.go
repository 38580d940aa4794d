package cli

import (
	"io"
	"strconv"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func (a *app) logsCmd() *cobra.Command {
	o := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}
	var details bool
	c := &cobra.Command{Use: "logs [FLAGS] SANDBOX", Short: "Show what a sandbox has printed", Args: exactArgs(1, "SANDBOX")}
	fl := c.Flags()
	fl.BoolVarP(&o.Follow, "follow", "f", false, "Go on with what comes")
	fl.StringVarP(&o.Tail, "tail", "n", "all", "Only the last lines")
	fl.StringVar(&o.Since, "since", "", "Only from a time on, such as 2026-01-02T13:23:37Z or 42m")
	fl.StringVar(&o.Until, "until", "", "Only up to a time, such as 2026-01-02T13:23:37Z or 42m")
	fl.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show the time of every line")
	fl.BoolVar(&details, "details", false, "Accepted for Docker's sake")
	hide(c, "details")
	c.RunE = func(c *cobra.Command, args []string) error {
		if _, err := strconv.Atoi(o.Tail); o.Tail != "all" && err != nil {
			return usagef(c, "--tail %q: expected a number of lines, or all", o.Tail)
		}
		if err := checkTimes(c, o.Since, o.Until); err != nil {
			return err
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		r, err := cl.ContainerInspect(c.Context(), args[0], client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		body, err := cl.ContainerLogs(c.Context(), r.Container.ID, o)
		if err != nil {
			return err
		}
		defer body.Close()
		if r.Container.Config != nil && r.Container.Config.Tty {
			_, err = io.Copy(a.out, body)
		} else {
			_, err = stdcopy.StdCopy(a.out, a.err, body)
		}
		if o.Follow && (err == nil || unreachable(err)) && daemonGone(c.Context(), cl) {
			return goneError("and what they print is kept; start a daemon again, then go on reading")
		}
		return err
	}
	return c
}
