package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"weft/internal/api"
)

// What commands say when the daemon ends while they wait for it. Sandboxes do
// not need it, so nothing is lost but this command's own view.

// goneLimit bounds the question whether a daemon is still there.
const goneLimit = 2 * time.Second

// unreachable reports whether an error means that nobody answers any more: no
// connection, or one that broke off in the middle.
func unreachable(err error) bool {
	if err == nil {
		return false
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	var connection *net.OpError
	return client.IsErrConnectionFailed(err) || errors.As(err, &connection)
}

// daemonGone reports whether the daemon that c talked to has ended meanwhile: a
// stream that it closes in an orderly way looks as if there was no more to say.
func daemonGone(ctx context.Context, c *api.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, goneLimit)
	defer cancel()
	_, err := c.Ping(ctx, client.PingOptions{})
	return unreachable(err)
}

// goneError is for a command that the end of the daemon has cut short; what
// follows says what became of its subject.
func goneError(format string, args ...any) error {
	return fmt.Errorf("the daemon went away: sandboxes go on, "+format, args...)
}

// orGone is err, in weft's words when it means that the daemon went away.
func orGone(err error, format string, args ...any) error {
	if unreachable(err) {
		return goneError(format, args...)
	}
	return err
}
