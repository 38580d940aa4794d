package cli

import (
	"fmt"
	"os"
	"os/signal"
)

// forceAfter interrupts in a row end the command even when they are passed on
// and the sandbox does not react, as in Docker.
const forceAfter = 3

// A signalProxy passes the signals this process gets to a sandbox. It catches
// them from its start, so that none gets lost while the sandbox starts, and owns
// one goroutine once forward was called.
type signalProxy struct {
	a    *app
	c    chan os.Signal
	quit chan struct{}
	done chan struct{}
}

// catchSignals begins to catch signals; without enabled it does nothing.
func (a *app) catchSignals(enabled bool) *signalProxy {
	p := &signalProxy{a: a}
	if enabled {
		p.c = make(chan os.Signal, 64)
		p.quit = make(chan struct{})
		catchAll(p.c)
	}
	return p
}

// forward passes on what was caught and what comes.
func (p *signalProxy) forward(kill func(signal string) error) {
	if p.c == nil {
		return
	}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		interrupted := 0
		for {
			select {
			case <-p.quit:
				return
			case s := <-p.c:
				if !proxied(s) {
					continue
				}
				if interrupts(s) {
					if interrupted++; interrupted >= forceAfter {
						fmt.Fprintf(p.a.err, "\nweft: got %d interrupts, leaving; the sandbox goes on\n", forceAfter)
						os.Exit(exitFailed)
					}
				}
				if err := kill(signalName(s)); err != nil {
					fmt.Fprintf(p.a.err, "weft: signal %v not passed on: %s\n", s, message(err))
				}
			}
		}
	}()
}

// stop gives signals their usual effect again.
func (p *signalProxy) stop() {
	if p.c == nil {
		return
	}
	signal.Stop(p.c)
	close(p.quit)
	if p.done != nil {
		<-p.done
	}
}
