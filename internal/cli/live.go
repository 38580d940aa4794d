package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Views that are shown anew on a terminal.
//
// Each picture is drawn over the last one on a screen that is cleared; what has
// scrolled away stays the user's. A view that ends at a key has the terminal in
// raw mode meanwhile: ctrl-c comes as a key as well, and lines need a carriage
// return. The goroutine that waits for keys ends with the process.

// refresh is how often the live views ask.
const refresh = time.Second

// clearScreen moves to the corner and clears what is seen, not what has scrolled
// away.
const clearScreen = "\x1b[H\x1b[2J"

// live shows something anew every second until an interrupt, or until q is read
// from keys unless that is nil.
func (a *app) live(ctx context.Context, keys io.Reader, show func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if keys != nil && isTerminal(keys) {
		restore, err := rawTerminal(keys)
		if err != nil {
			return err
		}
		out := a.out
		a.out = &rawLines{out}
		defer func() { a.out = out; restore() }()
		go func() { waitForQuit(keys); stop() }()
	}
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		fmt.Fprint(a.out, clearScreen)
		if err := show(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return orGone(err, "but there is nobody to ask for their counters")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// waitForQuit returns when q, ctrl-c or ctrl-d is typed, or nothing can be.
func waitForQuit(keys io.Reader) {
	buf := make([]byte, 64)
	for {
		n, err := keys.Read(buf)
		if bytes.ContainsAny(buf[:n], "qQ\x03\x04") || err != nil {
			return
		}
	}
}

// RawLines ends lines as a terminal in raw mode needs it.
type rawLines struct{ w io.Writer }

// Write returns the number of bytes of p that were written.
func (r *rawLines) Write(p []byte) (int, error) {
	if _, err := r.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
