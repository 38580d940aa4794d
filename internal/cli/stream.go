package cli

import (
	"errors"
	"io"
	"os"
	"os/signal"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Joining this process's streams to a sandbox's.
//
// Output is copied until the sandbox closes it; that ends the session. Input is
// copied beside it by a goroutine that cannot be stopped while it waits for a
// key: the process ends soon after, and with it the goroutine. Its end (end of
// file, or the detach keys) is told over a channel.

// A session says how streams are joined.
type session struct {
	stdin, tty bool
	detachKeys string
	resize     func(width, height uint) error
}

// stream runs a session over an attached connection. errDetached means that the
// user typed the detach keys.
func (a *app) stream(s session, conn client.HijackedResponse) error {
	if s.tty && s.stdin {
		restore, err := rawTerminal(a.in)
		if err != nil {
			return err
		}
		defer restore()
	}
	if s.tty {
		stop := a.followSize(s.resize)
		defer stop()
	}
	inDone := make(chan error, 1)
	if s.stdin {
		in, err := a.input(s)
		if err != nil {
			return err
		}
		go func() { inDone <- copyInput(in, conn) }()
	}
	outDone := make(chan error, 1)
	go func() { outDone <- a.copyOutput(s.tty, conn.Reader) }()
	for {
		select {
		case err := <-outDone:
			return err
		case err := <-inDone:
			if errors.Is(err, errDetached) {
				return err
			}
			inDone = nil // end of file: output goes on
		}
	}
}

// input is stdin, watched for the detach keys when it is a terminal's.
func (a *app) input(s session) (io.Reader, error) {
	if !s.tty {
		return a.in, nil
	}
	keys, err := parseDetachKeys(s.detachKeys)
	if err != nil {
		return nil, err
	}
	return &detachReader{r: a.in, keys: keys}, nil
}

func copyInput(in io.Reader, conn client.HijackedResponse) error {
	_, err := io.Copy(conn.Conn, in)
	if errors.Is(err, errDetached) {
		return err
	}
	return conn.CloseWrite()
}

// copyOutput writes what comes to stdout and stderr; without a terminal the two
// come multiplexed.
func (a *app) copyOutput(tty bool, r io.Reader) error {
	var err error
	if tty {
		_, err = io.Copy(a.out, r)
	} else {
		_, err = stdcopy.StdCopy(a.out, a.err, r)
	}
	return err
}

// followSize tells the sandbox's terminal the size of ours, now and at every
// change, until the function it returns is called.
func (a *app) followSize(resize func(width, height uint) error) (stop func()) {
	tell := func() {
		if w, h, ok := terminalSize(a.out, a.in); ok {
			// A sandbox that has just ended has no size: nothing to say.
			_ = resize(uint(w), uint(h))
		}
	}
	c := make(chan os.Signal, 1)
	notifyResize(c)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tell()
		for {
			select {
			case <-quit:
				return
			case <-c:
				tell()
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(quit)
		<-done
	}
}
