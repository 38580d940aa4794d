package api

import (
	"bufio"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"weft/internal/cnm"
)

func TestEventShape(t *testing.T) {
	e := cnm.Event{Time: time.Unix(5, 7), Type: "container", Action: "die", ActorID: "abc", Attributes: map[string]string{"image": "scratch", "exitCode": "3"}}
	for _, c := range []struct {
		v    version
		want string
	}{
		{52, `{"Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"3","image":"scratch"}},"scope":"local","time":5,"timeNano":5000000007}`},
		{51, `{"status":"die","id":"abc","from":"scratch","Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"3","image":"scratch"}},"scope":"local","time":5,"timeNano":5000000007}`},
	} {
		if b, _ := json.Marshal(eventMessage(c.v, e)); string(b) != c.want {
			t.Errorf("%v: %s\nwant %s", c.v, b, c.want)
		}
	}
}

func TestEventFilters(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	start := time.Now()
	ask(s, "POST", "/networks/create", createFront)
	id := withSandbox(t, m, cnm.SandboxSpec{Name: "a", Labels: map[string]string{"x": "y"}, Networks: []cnm.NetworkJoin{{Network: "front"}}})
	withSandbox(t, m, cnm.SandboxSpec{Name: "b"})
	past := "since=" + start.UTC().Format(time.RFC3339Nano) + "&until=" + time.Now().UTC().Format(time.RFC3339Nano)
	for _, c := range []struct {
		filters string
		want    string // actions; empty object: refused
	}{
		{``, "create create connect start create start"},
		{`{"type":{"network":true}}`, "create connect"},
		{`{"event":{"start":true}}`, "start start"},
		{`{"event":{"exec_create":true}}`, ""},
		{`{"container":{"a":true}}`, "create start"},
		{`{"container":{"` + id[:12] + `":true}}`, "create start"},
		{`{"container":{"` + id + `":true}}`, "create connect start"},
		{`{"network":{"front":true}}`, "create connect"},
		{`{"scope":{"swarm":true}}`, ""},
		{`{"image":{"scratch":true}}`, ""},
		{`{"colour":{"red":true}}`, "400"},
	} {
		w := ask(s, "GET", "/events?"+past+"&filters="+url.QueryEscape(c.filters), "")
		if c.want == "400" {
			if w.Code != 400 {
				t.Errorf("%s: %d", c.filters, w.Code)
			}
			continue
		}
		var got []string
		for l := bufio.NewScanner(w.Body); l.Scan(); {
			var e struct{ Action string }
			if err := json.Unmarshal(l.Bytes(), &e); err != nil {
				t.Fatalf("%s: %v", l.Text(), err)
			}
			got = append(got, e.Action)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", c.filters, s, c.want)
		}
	}
	for _, q := range []string{"since=7&until=5", "since=then", "until=then"} {
		if w := ask(s, "GET", "/events?"+q, ""); w.Code != 400 {
			t.Errorf("%s: %d, want 400", q, w.Code)
		}
	}
}

// Events are seen when they happen, not when a buffer is full.
func TestEventsLive(t *testing.T) {
	m := newMemory()
	s, sock := serve(t, m)
	res, _, _ := dial(t, sock, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	ask(s, "POST", "/networks/create", `{"Name":"n"}`)
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"Action":"create"`) {
		t.Errorf("%q, %v", line, err)
	}
}
