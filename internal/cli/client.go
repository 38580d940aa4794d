package cli

import (
	"fmt"
	"runtime"

	"weft/internal/api"
)

// errNoDaemonHere is what commands that need a daemon say where none can run.
var errNoDaemonHere = fmt.Errorf("this needs a weft daemon, which runs on Linux only: on %s, replay, capture -r, trace --lab and version work", runtime.GOOS)

// connect returns a client of the chosen daemon. With start, one is started when
// the choice is the user's own and nobody answers; otherwise that is an error.
func (a *app) connect(start bool) (*api.Client, error) {
	h, err := a.chooseHost()
	if err != nil {
		return nil, err
	}
	if !daemonSupported && !h.explicit {
		return nil, errNoDaemonHere
	}
	if p := h.path(); p != "" && !answers(p) {
		switch {
		case h.explicit:
			return nil, fmt.Errorf("no daemon answers at %s: start one with `weft daemon --host %s`, or unset WEFT_HOST and --host to use your own", h.url, h.url)
		case !start:
			return nil, fmt.Errorf("no daemon is running (looked at %s): `weft run`, `weft start` and every `weft network` command start one, and so does `weft daemon &`", h.url)
		}
		if err := a.startDaemon(p); err != nil {
			return nil, err
		}
	}
	c, err := api.NewClient(h.url)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.url, err)
	}
	return c, nil
}

// each runs f for every argument, prints those it succeeded for, and reports the
// errors of the others as they come, as Docker does.
func (a *app) each(args []string, f func(arg string) error) error {
	failed := false
	for _, arg := range args {
		if err := f(arg); err != nil {
			report(a.err, err)
			failed = true
			continue
		}
		fmt.Fprintln(a.out, arg)
	}
	if failed {
		return &exitError{code: exitFailed}
	}
	return nil
}
