package nettool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Why a fetch got no connection. Each has an exit code of its own, for whoever
// wants to know which it was: 3, 4 and 5.
var (
	ErrRefused     = errors.New("connection refused")
	ErrUnreachable = errors.New("unreachable")
	ErrNoAnswer    = errors.New("no answer")
)

// exitCodes are the codes other than 1 of what did not happen.
var exitCodes = []struct {
	err  error
	code int
}{{ErrRefused, 3}, {ErrUnreachable, 4}, {ErrNoAnswer, 5}}

// ExitError returns the error that an exit code of fetch stands for, nil if it is
// none of these.
func ExitError(code int) error {
	for _, c := range exitCodes {
		if c.code == code {
			return c.err
		}
	}
	return nil
}

func fetchTool(ctx context.Context, fs *flag.FlagSet, args []string, out io.Writer) error {
	timeout := fs.Duration("W", 5*time.Second, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return err
	}
	if *timeout <= 0 {
		return wrong("fetch: expected -W above 0")
	}
	u, err := url.Parse(fs.Arg(0))
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return wrong("fetch: %q: expected a URL such as http://192.0.2.1:8000/", fs.Arg(0))
	}
	return Fetch(ctx, new(net.Dialer).DialContext, u.String(), *timeout, out)
}

// Fetch gets a URL over connections that dial makes and copies the body to out. The
// timeout is for the connection and, again, for the head of the answer. The error
// wraps ErrRefused, ErrUnreachable or ErrNoAnswer where it is one of these; an
// answer other than 2xx is an error, too. No proxy is asked: the network is on show.
func Fetch(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), url string, timeout time.Duration, out io.Writer) error {
	t := &http.Transport{ResponseHeaderTimeout: timeout, DisableKeepAlives: true}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return dial(ctx, network, addr)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", url, why(err))
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: the answer is %s", url, resp.Status)
	}
	return nil
}

// why puts what the kernel said about a connection in our words.
func why(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrUnreachable), errors.Is(err, ErrNoAnswer):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return err
}
