package nettool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWeb(t *testing.T) {
	addr, log := start(t, "web", "127.0.0.1:0", "good morning")
	var out, errs bytes.Buffer
	if code := Main(context.Background(), []string{"fetch", "http://" + addr + "/x"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	if !strings.HasPrefix(out.String(), "good morning, asked by 127.0.0.1:") || !strings.Contains(log.String(), "GET /x") {
		t.Errorf("fetched %q; the server says %q", &out, log)
	}
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write([]byte("?"))
	b := make([]byte, 100)
	n, err := c.Read(b)
	if want := fmt.Sprintf("good morning, asked by %s\n", c.LocalAddr()); err != nil || string(b[:n]) != want {
		t.Errorf("%q, %v; want %q", b[:n], err, want)
	}
}

// TestFetchCodes: what becomes of a connection is told by the exit code.
func TestFetchCodes(t *testing.T) {
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for _, c := range []struct {
		name, url string
		code      int
		want      string
	}{
		{"not found", missing.URL, 1, "the answer is 404 Not Found"},
		{"refused", "http://" + closed.Addr().String(), 3, "connection refused"},
		{"mute", "http://" + mute.Addr().String(), 5, "no answer"},
	} {
		var errs bytes.Buffer
		if code := Main(context.Background(), []string{"fetch", "-W", "200ms", c.url}, io.Discard, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit %d, %s; want %d, %q", c.name, code, &errs, c.code, c.want)
		}
	}
	for _, c := range []struct {
		said, want error
	}{
		{syscall.ECONNREFUSED, ErrRefused}, {syscall.ENETUNREACH, ErrUnreachable}, {syscall.EHOSTUNREACH, ErrUnreachable}, {os.ErrDeadlineExceeded, ErrNoAnswer},
	} {
		dial := func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: c.said}
		}
		if err := Fetch(context.Background(), dial, "http://192.0.2.1/", time.Second, io.Discard); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.said, err, c.want)
		}
	}
}
