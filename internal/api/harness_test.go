package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/cnm"
)

var update = flag.Bool("update", false, "write the golden files")

// serve runs a server for b on a unix socket and returns the socket's path.
// After the test nothing of it may be left.
func serve(t *testing.T, b Backend) (*Server, string) {
	t.Helper()
	before := runtime.NumGoroutine()
	sock := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix://" + sock)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Stat(sock); !os.IsNotExist(err) {
			t.Errorf("socket is left: %v", err)
		}
		if m, ok := b.(*memory); ok {
			m.endAll()
		}
		wantGoroutines(t, before)
	})
	return s, sock
}

// endAll ends every process of the backend, so that only leaks of the server
// are left.
func (m *memory) endAll() {
	m.mu.Lock()
	var ps []*process
	for _, b := range m.sandboxes {
		ps = append(ps, b.proc)
	}
	for _, p := range m.execs {
		ps = append(ps, p)
	}
	m.mu.Unlock()
	for _, p := range ps {
		if p.running() {
			p.kill(137)
			<-p.done
		}
	}
}

func wantGoroutines(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if runtime.NumGoroutine() <= n {
			return
		}
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), n, buf[:runtime.Stack(buf, true)])
			return
		}
	}
}

// ask sends one request to a server in memory. The body is JSON unless empty.
func ask(s http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// message is the error in an answer.
func message(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var e map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || len(e) != 1 {
		t.Fatalf("answer %d is no error object: %s", w.Code, w.Body)
	}
	return e["message"]
}

// decodeAnswer reads an answer that must be 2xx.
func decodeAnswer[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if w.Code/100 != 2 {
		t.Fatalf("answer %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("decode %s: %v", w.Body, err)
	}
	return v
}

// golden compares JSON with testdata/NAME.json, keys sorted.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(got, &v); err != nil {
		t.Fatalf("%s: %v in %s", name, err, got)
	}
	got, _ = json.MarshalIndent(v, "", "  ")
	got = append(got, '\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it):\n%s", file, firstDifference(string(want), string(got)))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return "want " + w[i] + "\ngot  " + strings.Join(g[min(i, len(g)):min(i+1, len(g))], "")
		}
	}
	return "got more lines: " + strings.Join(g[len(w):], "\n")
}

// readAll reads with a bound on time.
func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	type result struct {
		b   []byte
		err error
	}
	ch := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(r)
		ch <- result{b, err}
	}()
	select {
	case res := <-ch:
		if res.err != nil {
			t.Errorf("read: %v", res.err)
		}
		return string(res.b)
	case <-time.After(5 * time.Second):
		t.Fatal("stream did not end")
		return ""
	}
}

func remarshal(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func subnet(prefix, gateway string) []cnm.Pool {
	return []cnm.Pool{{Subnet: netip.MustParsePrefix(prefix), Gateway: netip.MustParseAddr(gateway)}}
}

// ticking is a clock that never shows the same time twice.
func ticking() func() time.Time {
	var n atomic.Int64
	return func() time.Time { return time.Unix(1700000000+n.Add(1), 0) }
}

// normal takes out of a listing what depends on the time of day.
func normal(list []byte) []byte {
	return regexp.MustCompile(`"Status":"Up [^"]*"`).ReplaceAll(list, []byte(`"Status":"Up T"`))
}
