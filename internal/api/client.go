package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/client"

	"weft/internal/cnm"
)

// A Client talks to a daemon. What Docker has words for is in the embedded
// client; the rest is in methods of its own.
type Client struct {
	*client.Client
	http *http.Client
	base string // of URLs, without a path
}

// NewClient returns a client for a host as in WEFT_HOST: unix:///path or
// tcp://address:port. Nothing is sent yet.
func NewClient(host string) (*Client, error) {
	u, err := client.ParseHostURL(host)
	if err != nil || u.Scheme != "unix" && u.Scheme != "tcp" {
		return nil, cnm.Errorf(cnm.Invalid, "host %q: expected unix:///path/of/socket or tcp://address:port", host)
	}
	// The environment is not asked: DOCKER_HOST and DOCKER_API_VERSION are Docker's.
	docker, err := client.New(client.WithHost(host))
	if err != nil {
		return nil, cnm.Errorf(cnm.Invalid, "host %q: %w", host, err)
	}
	c := &Client{Client: docker, base: "http://" + u.Host + u.Path}
	t := &http.Transport{MaxIdleConns: 2}
	if u.Scheme == "unix" {
		c.base = "http://weft.localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.Host)
		}
	}
	c.http = &http.Client{Transport: t}
	return c, nil
}

// Close gives up idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return c.Client.Close()
}

// do sends a request under /weft/v1 and returns the body of a 2xx answer,
// which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body any) (io.ReadCloser, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request for %s: %w", path, err)
		}
		payload = bytes.NewReader(b)
	}
	return c.send(ctx, method, path, q, "application/json", payload)
}

// send is do for a body of any type; nil is none.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, media string, body io.Reader) (io.ReadCloser, error) {
	u := c.base + "/weft/v1/" + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", media)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, cnm.Errorf(cnm.Unavailable, "no daemon answers at %s: %w", c.DaemonHost(), unwrapURL(err))
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, answeredError(res)
}

// unwrapURL drops the method and URL that net/http puts before an error.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// answeredError is the error that a daemon answered with.
func answeredError(res *http.Response) error {
	var e common.ErrorResponse
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if json.Unmarshal(b, &e) != nil || e.Message == "" {
		e.Message = "daemon answered " + res.Status + ": " + clip(strings.TrimSpace(string(b)))
	}
	if k := kindOf(res.StatusCode); k != "" {
		return &cnm.Error{Kind: k, Msg: e.Message}
	}
	return errors.New(e.Message)
}

// kindOf is the way back from statusOf, empty for a status without a kind.
func kindOf(status int) cnm.Kind {
	switch status {
	case http.StatusBadRequest:
		return cnm.Invalid
	case http.StatusNotFound:
		return cnm.NotFound
	case http.StatusConflict:
		return cnm.Conflict
	case http.StatusForbidden:
		return cnm.Forbidden
	case http.StatusNotModified:
		return cnm.NotModified
	case http.StatusServiceUnavailable:
		return cnm.Unavailable
	case http.StatusNotImplemented:
		return cnm.Unsupported
	}
	return ""
}

// call is do with the answer decoded into v, unless v is nil.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, body, v any) error {
	res, err := c.do(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	return decodeAndClose(res, path, v)
}

// decodeAndClose decodes an answer into v, unless v is nil, and closes it.
func decodeAndClose(res io.ReadCloser, path string, v any) error {
	defer func() { _ = res.Close() }()
	if v == nil {
		return nil
	}
	if err := json.NewDecoder(res).Decode(v); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}
