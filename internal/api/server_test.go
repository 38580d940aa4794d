package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weft/internal/cnm"
)

func TestPing(t *testing.T) {
	s := NewServer(newMemory(), nil)
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/_ping", "/v1.41/_ping", "/v1.56/_ping"} {
			w := ask(s, method, path, "")
			want := "OK"
			if method == "HEAD" {
				want = ""
			}
			if w.Code != 200 || w.Body.String() != want {
				t.Errorf("%s %s: %d %q, want 200 %q", method, path, w.Code, w.Body, want)
			}
			for k, v := range map[string]string{"Api-Version": "1.56", "Docker-Experimental": "false", "Ostype": "linux",
				"Server": "weft/0.1.0 (linux)", "Content-Type": "text/plain; charset=utf-8"} {
				if got := w.Header().Get(k); got != v {
					t.Errorf("%s %s: header %s %q, want %q", method, path, k, got, v)
				}
			}
		}
	}
}

func TestVersionNegotiation(t *testing.T) {
	const tooOld = "client version %s is too old. Minimum supported API version is 1.41, please upgrade your client to a newer version"
	const tooNew = "client version %s is too new. Maximum supported API version is 1.56"
	s := NewServer(newMemory(), nil)
	for _, c := range []struct {
		name, path string
		code       int
		msg        string
	}{
		{"none", "/networks", 200, ""},
		{"oldest", "/v1.41/networks", 200, ""},
		{"newest", "/v1.56/networks", 200, ""},
		{"too old", "/v1.40/networks", 400, fmt.Sprintf(tooOld, "1.40")},
		{"ancient", "/v1.9/networks", 400, fmt.Sprintf(tooOld, "1.9")},
		{"major 0", "/v0.9/networks", 400, fmt.Sprintf(tooOld, "0.9")},
		{"too new", "/v1.57/networks", 400, fmt.Sprintf(tooNew, "1.57")},
		{"major 2", "/v2.0/networks", 400, fmt.Sprintf(tooNew, "2.0")},
		{"absurd", "/v1.99999999999999999999/networks", 400, fmt.Sprintf(tooNew, "1.99999999999999999999")},
		{"own paths too", "/v1.44/weft/v1/stats", 200, ""},
		{"no version", "/vX.Y/networks", 404, "page not found"},
		{"twice", "/v1.44/v1.44/networks", 404, "page not found"},
		{"alone", "/v1.44", 404, "page not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(s, "GET", c.path, "")
			if w.Code != c.code {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, c.code)
			}
			if c.msg != "" && message(t, w) != c.msg {
				t.Errorf("message %q\nwant    %q", message(t, w), c.msg)
			}
		})
	}
}

func TestErrorStatus(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code int
	}{
		{"invalid", cnm.Errorf(cnm.Invalid, "x"), 400},
		{"forbidden", cnm.Errorf(cnm.Forbidden, "x"), 403},
		{"not found", cnm.Errorf(cnm.NotFound, "x"), 404},
		{"conflict", cnm.Errorf(cnm.Conflict, "x"), 409},
		{"unsupported", cnm.Errorf(cnm.Unsupported, "x"), 501},
		{"unavailable", cnm.Errorf(cnm.Unavailable, "x"), 503},
		{"not modified", cnm.Errorf(cnm.NotModified, "x"), 304},
		{"wrapped", fmt.Errorf("more: %w", cnm.Errorf(cnm.Conflict, "x")), 409},
		{"cancelled", context.Canceled, 503},
		{"any other", errors.New("x"), 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			m.err = c.err
			w := ask(NewServer(m, nil), "POST", "/networks/create", `{"Name":"n"}`)
			if w.Code != c.code {
				t.Fatalf("status %d, want %d", w.Code, c.code)
			}
			if c.code == 304 {
				if w.Body.Len() != 0 {
					t.Errorf("304 with a body: %s", w.Body)
				}
				return
			}
			if got := message(t, w); got != c.err.Error() {
				t.Errorf("message %q, want %q", got, c.err)
			}
			if k := kindOf(w.Code); k != "" && c.name != "cancelled" && !errors.Is(c.err, k) {
				t.Errorf("way back from %d is %q", w.Code, k)
			}
		})
	}
}

func TestUnknownPaths(t *testing.T) {
	s := NewServer(newMemory(), nil)
	for _, c := range []struct {
		method, path string
		code         int
		part         string
	}{
		{"GET", "/nonsense", 404, "page not found"},
		{"GET", "/", 404, "page not found"},
		{"GET", "/containers/a/nonsense", 404, "page not found"},
		{"PUT", "/networks/a", 404, "page not found"},
		{"GET", "/v1.44/images/json", 501, "weft has no images"},
		{"POST", "/images/create?fromImage=alpine", 501, "weft has no images"},
		{"GET", "/volumes", 501, "no volumes"},
		{"PUT", "/swarm", 404, "page not found"},
		{"GET", "/services", 503, "not a swarm manager"},
		{"POST", "/services/create", 503, "not a swarm manager"},
		{"GET", "/services/x", 404, "No such service: x"},
		{"GET", "/v1.41/images/library/alpine/json", 404, "No such image: library"},
		{"GET", "/volumes/v", 404, "No such volume: v"},
		{"DELETE", "/volumes/v", 501, "no volumes"},
		{"POST", "/build", 501, "no images"},
		{"GET", "/system/df", 501, "account for"},
		{"POST", "/containers/a/pause", 501, "freeze"},
		{"GET", "/containers/a/stats", 501, "/weft/v1/stats"},
		{"GET", "/containers/a/archive", 501, "layers"},
		{"GET", "/containers/a/attach/ws", 501, "upgrade to tcp"},
	} {
		w := ask(s, c.method, c.path, "")
		if w.Code != c.code || !strings.Contains(message(t, w), c.part) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, w.Code, w.Body, c.code, c.part)
		}
	}
}

func TestBadBodies(t *testing.T) {
	s := NewServer(newMemory(), nil)
	big := `{"Name":"` + strings.Repeat("a", maxBody) + `"}`
	for _, c := range []struct {
		name, kind, body string
		code             int
		part             string
	}{
		{"empty", "application/json", "", 400, "got EOF"},
		{"not JSON", "application/json", "hello", 400, "invalid JSON"},
		{"wrong type", "application/json", `{"Name":7}`, 400, "invalid JSON"},
		{"bad subnet", "application/json", `{"Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.300/24"}]}}`, 400, "invalid JSON"},
		{"two objects", "application/json", `{"Name":"n"}{}`, 400, "unexpected content after JSON"},
		{"form", "application/x-www-form-urlencoded", "Name=n", 400, "unsupported Content-Type header (application/x-www-form-urlencoded)"},
		{"no type", "", `{"Name":"n"}`, 400, "unsupported Content-Type header ()"},
		{"too big", "application/json", big, 413, "request body too large"},
		{"deep", "application/json", strings.Repeat("[", 100000), 400, "invalid JSON"},
		{"unknown fields", "application/json; charset=utf-8", `{"Name":"n","CheckDuplicate":true,"Nonsense":{}}`, 201, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/networks/create", strings.NewReader(c.body))
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != c.code {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, c.code)
			}
			if c.part != "" && !strings.Contains(message(t, w), c.part) {
				t.Errorf("message %q without %q", message(t, w), c.part)
			}
		})
	}
}

func TestOtherOrigins(t *testing.T) {
	s := NewServer(newMemory(), nil)
	for _, c := range []struct {
		name, host, header, value string
		code                      int
	}{
		{"no browser", "127.0.0.1:2375", "", "", 200},
		{"no browser, by name", "host.example:2375", "", "", 200},
		{"own page", "127.0.0.1:2375", "Sec-Fetch-Site", "same-origin", 200},
		{"own page, by name", "localhost:2375", "Sec-Fetch-Site", "same-origin", 200},
		{"own page, old browser", "[::1]:2375", "Origin", "http://[::1]:2375", 200},
		{"foreign page", "127.0.0.1:2375", "Sec-Fetch-Site", "cross-site", 403},
		{"foreign page, old browser", "127.0.0.1:2375", "Origin", "http://evil.example", 403},
		{"rebound name", "evil.example:2375", "Sec-Fetch-Site", "same-origin", 403},
		{"rebound name, old browser", "evil.example:2375", "Origin", "http://evil.example:2375", 403},
	} {
		r := httptest.NewRequest("POST", "http://"+c.host+"/containers/prune", nil)
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.code)
		}
	}
}

func TestSystem(t *testing.T) {
	m := newMemory()
	s := NewServer(m, nil)
	info := decodeAnswer[map[string]any](t, ask(s, "GET", "/info", ""))
	for k, v := range map[string]any{"NGoroutines": 0.0, "SystemTime": "T", "Architecture": "A", "OSType": "O"} {
		info[k] = v
	}
	golden(t, "info", remarshal(info))
	version := decodeAnswer[map[string]any](t, ask(s, "GET", "/v1.41/version", ""))
	details := version["Components"].([]any)[0].(map[string]any)["Details"].(map[string]any)
	for _, m := range []map[string]any{version, details} {
		for k := range map[string]int{"GoVersion": 0, "Os": 0, "Arch": 0, "GitCommit": 0, "BuildTime": 0} {
			delete(m, k)
		}
	}
	golden(t, "version", remarshal(version))
}

var _ http.Handler = (*Server)(nil)
