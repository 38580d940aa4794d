package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

func TestMuxWriter(t *testing.T) {
	var b bytes.Buffer
	m := muxWriter{w: &b}
	for _, p := range []piece{{1, "hello"}, {2, ""}, {2, "oh"}} {
		if err := m.write(p.fd, []byte(p.text)); err != nil {
			t.Fatal(err)
		}
	}
	want := "\x01\x00\x00\x00\x00\x00\x00\x05hello" + "\x02\x00\x00\x00\x00\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x02oh"
	if b.String() != want {
		t.Errorf("framed %q\nwant   %q", b.String(), want)
	}
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, &b); err != nil || out.String() != "hello" || errs.String() != "oh" {
		t.Errorf("Docker reads %q and %q, %v", out.String(), errs.String(), err)
	}
	b.Reset()
	m.fail(io.ErrUnexpectedEOF)
	if _, err := stdcopy.StdCopy(&out, &errs, &b); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("error in the stream reads as %v", err)
	}
	b.Reset()
	m.raw = true
	_ = m.write(2, []byte("bare"))
	if b.String() != "bare" {
		t.Errorf("raw %q", b.String())
	}
}

// dial sends a request on a connection of its own and returns the answer's
// head and the connection, which is the stream after a hijack.
func dial(t *testing.T, sock, request string) (*http.Response, net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res, c, r
}

const upgrade = " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"

func TestAttach(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	for _, c := range []struct {
		name, version, tty, up string
		status                 int
		media                  string
	}{
		{"now", "", "false", upgrade, 101, "application/vnd.docker.multiplexed-stream"},
		{"1.41 has one name for both", "/v1.41", "false", upgrade, 101, "application/vnd.docker.raw-stream"},
		{"terminal", "", "true", upgrade, 101, "application/vnd.docker.raw-stream"},
		{"no upgrade", "", "false", " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200, "application/vnd.docker.raw-stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(s, "POST", "/containers/create", `{"Cmd":["cat"],"OpenStdin":true,"Tty":`+c.tty+`}`)
			id := decodeAnswer[container.CreateResponse](t, w).ID
			res, conn, r := dial(t, sock, "POST "+c.version+"/containers/"+id+"/attach?stream=1&stdin=1&stdout=1&stderr=1"+c.up)
			if res.StatusCode != c.status || res.Header.Get("Content-Type") != c.media {
				t.Fatalf("%d %s, want %d %s", res.StatusCode, res.Header.Get("Content-Type"), c.status, c.media)
			}
			ask(s, "POST", "/containers/"+id+"/start", "")
			if _, err := io.WriteString(conn, "ping"); err != nil {
				t.Fatal(err)
			}
			if c.tty == "true" {
				buf := make([]byte, 4)
				if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "ping" {
					t.Fatalf("%q, %v", buf, err)
				}
				_, _ = io.WriteString(conn, "\x10\x11") // ctrl-p ctrl-q
				if rest := readAll(t, r); rest != "" {
					t.Errorf("after detaching came %q", rest)
				}
				if b, _ := m.Sandbox(id); b.State != cnm.Running {
					t.Errorf("detaching left it %s", b.State)
				}
				return
			}
			_ = conn.(*net.UnixConn).CloseWrite()
			var out, errs bytes.Buffer
			if _, err := stdcopy.StdCopy(&out, &errs, r); err != nil || out.String() != "ping" {
				t.Errorf("%q %q, %v", out.String(), errs.String(), err)
			}
		})
	}
}

// A client that sends input in the packet of its request loses none of it.
func TestAttachEarlyInput(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	id := decodeAnswer[container.CreateResponse](t, ask(s, "POST", "/containers/create", `{"Cmd":["cat"],"OpenStdin":true}`)).ID
	ask(s, "POST", "/containers/"+id+"/start", "")
	_, conn, r := dial(t, sock, "POST /containers/"+id+"/attach?stream=1&stdin=1&stdout=1"+upgrade+"early")
	_ = conn.(*net.UnixConn).CloseWrite()
	if got := readAll(t, r); got != "\x01\x00\x00\x00\x00\x00\x00\x05early" {
		t.Errorf("%q", got)
	}
}

// Output that was not asked for is not sent.
func TestAttachOneStream(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	for _, c := range []struct{ query, want string }{
		{"stream=1&stdout=1", "\x01\x00\x00\x00\x00\x00\x00\x04out\n"},
		{"stream=1&stderr=1", "\x02\x00\x00\x00\x00\x00\x00\x04err\n"},
		{"logs=1&stdout=1&stderr=1", ""},
	} {
		id := decodeAnswer[container.CreateResponse](t, ask(s, "POST", "/containers/create", `{"Cmd":["both"]}`)).ID
		_, _, r := dial(t, sock, "POST /containers/"+id+"/attach?"+c.query+upgrade)
		ask(s, "POST", "/containers/"+id+"/start", "")
		if got := readAll(t, r); got != c.want {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
}

func TestAttachErrors(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, m)
	foreign, _ := m.AttachForeign(context.Background(), cnm.SandboxSpec{Name: "f", Foreign: &cnm.Foreign{PID: 1}})
	withSandbox(t, m, cnm.SandboxSpec{Name: "a"})
	for _, c := range []struct {
		path string
		code int
		part string
	}{
		{"/containers/nobody/attach?stream=1", 404, "No such container"},
		{"/containers/" + foreign + "/attach?stream=1", 409, "foreign namespace"},
		{"/containers/a/attach?stream=1&detachKeys=ctrl-1", 400, "invalid detach keys"},
		{"/containers/a/attach", 400, "at least one of stream and logs"},
		{"/exec/nothing/start", 404, "No such exec instance"},
	} {
		if w := ask(s, "POST", c.path, ""); w.Code != c.code || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s: %d %s, want %d %q", c.path, w.Code, w.Body, c.code, c.part)
		}
	}
}

// Shutdown ends streams of processes that go on.
func TestShutdownEndsStreams(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	id := withSandbox(t, m, cnm.SandboxSpec{})
	_, _, attached := dial(t, sock, "POST /containers/"+id+"/attach?stream=1&stdout=1"+upgrade)
	_, half, halfClosed := dial(t, sock, "POST /containers/"+id+"/attach?stream=1&stdout=1"+upgrade)
	_ = half.(*net.UnixConn).CloseWrite()
	time.Sleep(10 * time.Millisecond) // until the server has seen it
	const get = " HTTP/1.1\r\nHost: x\r\n\r\n"
	events, _, _ := dial(t, sock, "GET /events"+get)
	logs, _, _ := dial(t, sock, "GET /containers/"+id+"/logs?stdout=1&follow=1"+get)
	capture, _, _ := dial(t, sock, "GET /weft/v1/capture"+get)
	wait, _, _ := dial(t, sock, "POST /containers/"+id+"/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	start := time.Now()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("shutdown took %v", d)
	}
	for name, r := range map[string]io.Reader{"attach": attached, "half-closed attach": halfClosed, "events": events.Body, "logs": logs.Body, "capture": capture.Body} {
		if got := readAll(t, r); name != "capture" && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	var res container.WaitResponse
	if err := json.NewDecoder(wait.Body).Decode(&res); err != nil || res.Error == nil || res.StatusCode != -1 {
		t.Errorf("wait ended with %+v, %v", res, err)
	}
}

// The answer to a wait begins before the end of the sandbox, so a client can
// wait first and start then.
func TestWait(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	for _, c := range []struct {
		cond, body string
		code       int64
	}{
		{"next-exit", `{"Cmd":["both"]}`, 3},
		{"removed", `{"Cmd":["both"],"HostConfig":{"AutoRemove":true}}`, 3},
	} {
		id := decodeAnswer[container.CreateResponse](t, ask(s, "POST", "/containers/create", c.body)).ID
		res, _, _ := dial(t, sock, "POST /containers/"+id+"/wait?condition="+c.cond+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		if b, err := m.Sandbox(id); err != nil || b.State != cnm.Created {
			t.Fatalf("%s: headers came when it was %s, %v", c.cond, b.State, err)
		}
		ask(s, "POST", "/containers/"+id+"/start", "")
		var got container.WaitResponse
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.StatusCode != c.code || got.Error != nil {
			t.Errorf("%s: %+v, %v; want %d", c.cond, got, err, c.code)
		}
	}
}

func TestWaitNotRunning(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	ask(s, "POST", "/containers/create?name=a", `{"Cmd":["both"]}`)
	for _, want := range []string{`{"StatusCode":0}`, `{"StatusCode":3}`, `{"StatusCode":3}`} {
		w := ask(s, "POST", "/containers/a/wait?condition=not-running", "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want {
			t.Errorf("%d %s, want %s", w.Code, got, want)
		}
		ask(s, "POST", "/containers/a/start", "")
		ask(s, "POST", "/containers/a/wait", "")
	}
	if w := ask(s, "POST", "/containers/nobody/wait", ""); w.Code != 404 {
		t.Errorf("nobody: %d", w.Code)
	}
	if w := ask(s, "POST", "/containers/a/wait?condition=tired", ""); w.Code != 400 || !strings.Contains(message(t, w), "invalid condition") {
		t.Errorf("condition: %d %s", w.Code, w.Body)
	}
}

func TestLogs(t *testing.T) {
	m := at(newMemory())
	s := NewServer(m, nil)
	ask(s, "POST", "/containers/create?name=a", `{"Cmd":["both"]}`)
	ask(s, "POST", "/containers/create?name=tty", `{"Cmd":["both"],"Tty":true}`)
	for _, n := range []string{"a", "tty"} {
		ask(s, "POST", "/containers/"+n+"/start", "")
		ask(s, "POST", "/containers/"+n+"/wait", "")
	}
	for name, tty := range map[string]string{"full": "false", "fulltty": "true"} {
		ask(s, "POST", "/containers/create?name="+name, `{"Cmd":["both"],"Tty":`+tty+`}`)
		ask(s, "POST", "/containers/"+name+"/start", "")
		ask(s, "POST", "/containers/"+name+"/wait", "")
		m.sandboxes[len(m.sandboxes)-1].LogError = "disk full"
	}
	const out, err = "\x01\x00\x00\x00\x00\x00\x00\x04out\n", "\x02\x00\x00\x00\x00\x00\x00\x04err\n"
	for _, c := range []struct {
		path  string
		code  int
		want  string
		media string
	}{
		{"/containers/a/logs?stdout=1&stderr=1", 200, out + err, "application/vnd.docker.multiplexed-stream"},
		{"/v1.41/containers/a/logs?stdout=1&stderr=1", 200, out + err, "application/vnd.docker.raw-stream"},
		{"/containers/a/logs?stderr=1&tail=all", 200, err, "application/vnd.docker.multiplexed-stream"},
		{"/containers/a/logs?stdout=1&follow=1", 200, out, "application/vnd.docker.multiplexed-stream"},
		{"/containers/a/logs?stdout=1&timestamps=1", 200,
			"\x01\x00\x00\x00\x00\x00\x00\x23" + "2026-01-02T03:04:05.001006000Z out\n", "application/vnd.docker.multiplexed-stream"},
		{"/containers/tty/logs?stdout=1", 200, "out\r\nerr\r\n", "application/vnd.docker.raw-stream"},
		{"/containers/full/logs?stdout=1", 200, out + "\x03\x00\x00\x00\x00\x00\x00\x09disk full", "application/vnd.docker.multiplexed-stream"},
		{"/containers/fulltty/logs?stdout=1", 200, "out\r\nerr\r\nweft: disk full\r\n", "application/vnd.docker.raw-stream"},
		{"/containers/a/logs", 400, "", "application/json"},
		{"/containers/a/logs?stdout=1&since=soon", 400, "", "application/json"},
		{"/containers/nobody/logs?stdout=1", 404, "", "application/json"},
	} {
		w := ask(s, "GET", c.path, "")
		if w.Code != c.code || c.code == 200 && w.Body.String() != c.want || w.Header().Get("Content-Type") != c.media {
			t.Errorf("%s: %d %s %q\nwant %d %s %q", c.path, w.Code, w.Header().Get("Content-Type"), w.Body, c.code, c.media, c.want)
		}
	}
}

func TestLogOptions(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"stdout=1", "{Follow:false Tail:-1 Since:0 Until:0 Timestamps:false Stdout:true Stderr:false}"},
		{"stdout=true&stderr=True&follow=1&tail=10&timestamps=1", "{Follow:true Tail:10 Since:0 Until:0 Timestamps:true Stdout:true Stderr:true}"},
		{"stdout=1&tail=-3&since=5&until=7.5", "{Follow:false Tail:-1 Since:5 Until:7.5 Timestamps:false Stdout:true Stderr:false}"},
		{"stdout=1&tail=0", "{Follow:false Tail:0 Since:0 Until:0 Timestamps:false Stdout:true Stderr:false}"},
		{"stdout=1&follow=1&until=7", "{Follow:false Tail:-1 Since:0 Until:7 Timestamps:false Stdout:true Stderr:false}"},
	} {
		r, _ := http.NewRequest("GET", "http://x/?"+c.query, nil)
		o, err := logOptions(r)
		sec := func(t time.Time) any {
			if t.IsZero() {
				return 0
			}
			return float64(t.UnixNano()) / 1e9
		}
		got := fmt.Sprintf("{Follow:%v Tail:%v Since:%v Until:%v Timestamps:%v Stdout:%v Stderr:%v}",
			o.Follow, o.Tail, sec(o.Since), sec(o.Until), o.Timestamps, o.Stdout, o.Stderr)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v\nwant %s", c.query, got, err, c.want)
		}
	}
}
