package api

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
)

func TestExec(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	id := withSandbox(t, m, cnm.SandboxSpec{Name: "a"})
	w := ask(s, "POST", "/containers/a/exec", `{"AttachStdout":true,"AttachStderr":true,"Cmd":["both"],"Env":["A=b"],"WorkingDir":"/"}`)
	if w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	exec := decodeAnswer[container.ExecCreateResponse](t, w).ID
	i := decodeAnswer[container.ExecInspectResponse](t, ask(s, "GET", "/exec/"+exec+"/json", ""))
	if i.ContainerID != id || i.Running || i.ExitCode != nil || i.ProcessConfig.Entrypoint != "both" || !i.OpenStdout || i.OpenStdin {
		t.Errorf("before the start: %+v", i)
	}
	body := `{"Detach":false,"Tty":false}`
	res, _, r := dial(t, sock, "POST /exec/"+exec+"/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"+
		"Content-Type: application/json\r\nContent-Length: 28\r\n\r\n"+body)
	if len(body) != 28 || res.StatusCode != 101 {
		t.Fatalf("%d", res.StatusCode)
	}
	if got := readAll(t, r); got != "\x01\x00\x00\x00\x00\x00\x00\x04out\n\x02\x00\x00\x00\x00\x00\x00\x04err\n" {
		t.Errorf("output %q", got)
	}
	i = decodeAnswer[container.ExecInspectResponse](t, ask(s, "GET", "/exec/"+exec+"/json", ""))
	if i.ExitCode == nil || *i.ExitCode != 3 {
		t.Errorf("after the end: %+v", i)
	}
}

func TestExecDetachedAndResized(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, m)
	withSandbox(t, m, cnm.SandboxSpec{Name: "a"})
	exec := decodeAnswer[container.ExecCreateResponse](t, ask(s, "POST", "/containers/a/exec", `{"Tty":true,"Cmd":["size"]}`)).ID
	if w := ask(s, "POST", "/exec/"+exec+"/start", `{"Detach":true,"ConsoleSize":[24,80]}`); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := ask(s, "POST", "/exec/"+exec+"/resize?h=50&w=132", ""); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	st := m.execs[exec].attach(true)
	for _, want := range []string{"24 rows 80 cols\r\n", "50 rows 132 cols\r\n"} {
		if _, b, err := st.Next(); err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
}

func TestExecRefused(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	withSandbox(t, m, cnm.SandboxSpec{Name: "a"})
	ask(s, "POST", "/containers/create?name=made", `{"Cmd":["x"]}`)
	for _, c := range []struct {
		path, body string
		code       int
		part       string
	}{
		{"/containers/a/exec", `{}`, 400, "no exec command specified"},
		{"/containers/a/exec", `{"Cmd":["x"],"User":"bob"}`, 501, "user bob"},
		{"/containers/a/exec", `{"Cmd":["x"],"Privileged":true}`, 501, "privileged"},
		{"/containers/a/exec", `{"Cmd":["x"],"DetachKeys":"??"}`, 400, "invalid detach keys"},
		{"/containers/made/exec", `{"Cmd":["x"]}`, 409, "is not running"},
		{"/containers/nobody/exec", `{"Cmd":["x"]}`, 404, "No such container"},
		{"/exec/none/resize?h=1&w=1", ``, 404, "No such exec"},
		{"/exec/none/resize?h=1&w=x", ``, 400, "h and w"},
	} {
		if w := ask(s, "POST", c.path, c.body); w.Code != c.code || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s %s: %d %s, want %d %q", c.path, c.body, w.Code, w.Body, c.code, c.part)
		}
	}
	if w := ask(s, "GET", "/exec/none/json", ""); w.Code != 404 {
		t.Errorf("inspect: %d", w.Code)
	}
}

func TestTop(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	withSandbox(t, m, cnm.SandboxSpec{Name: "a"})
	w := ask(s, "GET", "/containers/a/top", "")
	if got, want := strings.TrimSpace(w.Body.String()), `{"Processes":[["root","1","sleep 1000"]],"Titles":["UID","PID","CMD"]}`; got != want {
		t.Errorf("%d %s, want %s", w.Code, got, want)
	}
}
