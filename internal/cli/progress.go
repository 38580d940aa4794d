package cli

import (
	"fmt"
	"time"
)

// progressAfter: waits shorter than this show nothing.
const progressAfter = 400 * time.Millisecond

// progress shows what is being waited for, on a terminal only, until the
// function it returns is called. It owns one goroutine, which that call ends.
func (a *app) progress(format string, args ...any) (done func()) {
	if !isTerminal(a.err) {
		return func() {}
	}
	text := fmt.Sprintf(format, args...)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		start := time.Now()
		tick := time.NewTimer(progressAfter)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-stop:
				if shown {
					fmt.Fprint(a.err, "\r\x1b[K")
				}
				return
			case <-tick.C:
				shown = true
				fmt.Fprintf(a.err, "\r\x1b[K%s (%d s)", text, int(time.Since(start).Seconds()))
				tick.Reset(time.Second)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
