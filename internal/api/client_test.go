package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"weft/internal/cnm"
)

func newTestClient(t *testing.T, host string) *Client {
	t.Helper()
	c, err := NewClient(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClient(t *testing.T) {
	m := newMemory()
	_, sock := serve(t, m)
	c := newTestClient(t, "unix://"+sock)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if i, err := c.WeftInfo(ctx); err != nil || i.PID != 77 || i.Rung != "uso" || !i.Rootless {
		t.Errorf("info %+v, %v", i, err)
	}
	if l, err := c.FDB(ctx, "bridge"); err != nil || len(l) != 2 || l[1].MAC.String() != "02:42:ac:11:00:02" || l[1].Age != 3*time.Second || !l[0].Static {
		t.Errorf("fdb %+v, %v", l, err)
	}
	if _, err := c.FDB(ctx, "nowhere"); !errors.Is(err, cnm.NotFound) || err.Error() != "network nowhere not found" {
		t.Errorf("fdb of nowhere: %v", err)
	}
	if l, err := c.ARP(ctx, ""); err != nil || len(l) != 1 || l[0].Addr.String() != "172.17.0.2" || l[0].Sandbox != "a" {
		t.Errorf("arp %+v, %v", l, err)
	}
	if l, err := c.Stats(ctx); err != nil || len(l) != 1 || l[0].RxFrames != 7 || l[0].Drops["spoofed-mac"] != 2 {
		t.Errorf("stats %+v, %v", l, err)
	}
	if p, err := c.Peers(ctx, ""); err != nil || len(p.Peers) != 3 || p.Peers[0].Learned != 3 || p.Peers[2].Peer.String() != "[2001:db8::2]:4789" ||
		len(p.Underlays) != 1 || p.Underlays[0].Drops["unknown-vtep"] != 6 {
		t.Errorf("peers %+v, %v", p, err)
	}
	want := []Check{{"user namespaces", "ok", "allowed", ""}, {"tun", "fail", "mode 0600", "chmod 0666 /dev/net/tun"}}
	if l, err := c.Doctor(ctx); err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("doctor %+v, %v", l, err)
	}
	if l, err := c.Trace(ctx, TraceRequest{Port: "a", Frame: []byte{1, 2, 3}}); err != nil || !reflect.DeepEqual(l, []TraceStep{{"view", "3 bytes from a"}}) {
		t.Errorf("trace %+v, %v", l, err)
	}
}

func TestClientCapture(t *testing.T) {
	m := newMemory()
	_, sock := serve(t, m)
	c := newTestClient(t, "unix://"+sock)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := CaptureOptions{Network: "bridge", Port: "a:eth0", Before: true, Filter: "arp and not host 10.0.0.1", Snaplen: 128}
	r, err := c.Capture(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "block" {
		t.Errorf("%q, %v", buf, err)
	}
	m.mu.Lock()
	if m.captured != o {
		t.Errorf("captured with %+v, want %+v", m.captured, o)
	}
	m.mu.Unlock()
	cancel()
	_ = r.Close()
	if _, err := c.Capture(context.Background(), CaptureOptions{Filter: "bad"}); !errors.Is(err, cnm.Invalid) {
		t.Errorf("bad filter: %v", err)
	}
}

func TestClientForeign(t *testing.T) {
	m := newMemory()
	_, sock := serve(t, m)
	c := newTestClient(t, "unix://"+sock)
	ctx := context.Background()
	id, err := c.AttachForeign(ctx, AttachRequest{Name: "pod", PID: 99, Networks: []AttachNetwork{
		{Network: "bridge", EndpointConfig: &network.EndpointSettings{Aliases: []string{"www"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Sandbox(id)
	if err != nil || b.Spec.Foreign.PID != 99 || b.Spec.Networks[0].Config.Aliases[0] != "www" {
		t.Errorf("%+v, %v", b.Spec, err)
	}
	res, err := c.ContainerList(ctx, client.ContainerListOptions{})
	if err != nil || res.Items[0].Image != "foreign" || res.Items[0].Command != "pid 99" {
		t.Errorf("listed as %+v, %v", res.Items, err)
	}
	if err := c.DetachForeign(ctx, "pod"); err != nil {
		t.Error(err)
	}
	if err := c.DetachForeign(ctx, "pod"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("again: %v", err)
	}
	for _, r := range []AttachRequest{{}, {PID: 1, NetNS: "/x"}, {PID: -1}} {
		if _, err := c.AttachForeign(ctx, r); !errors.Is(err, cnm.Invalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// The embedded Docker client negotiates with the server and works on it.
func TestClientDocker(t *testing.T) {
	m := newMemory()
	_, sock := serve(t, m)
	c := newTestClient(t, "unix://"+sock)
	ctx := context.Background()
	if _, err := c.NetworkCreate(ctx, "front", client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
		t.Fatal(err)
	}
	if v := c.ClientVersion(); v != Version {
		t.Errorf("negotiated %s, want %s", v, Version)
	}
	n, err := c.NetworkInspect(ctx, "front", client.NetworkInspectOptions{})
	if err != nil || n.Network.Name != "front" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestClientTCP(t *testing.T) {
	srv := httptest.NewServer(NewServer(newMemory(), nil))
	defer srv.Close()
	c := newTestClient(t, "tcp://"+srv.Listener.Addr().String())
	if l, err := c.Stats(context.Background()); err != nil || len(l) != 1 {
		t.Errorf("%v, %v", l, err)
	}
}

func TestClientErrors(t *testing.T) {
	for _, h := range []string{"", "unix://", "/run/x", "npipe:////x", "tcp://%zz"} {
		if _, err := NewClient(h); !errors.Is(err, cnm.Invalid) {
			t.Errorf("%q: %v", h, err)
		}
	}
	c := newTestClient(t, "unix:///nonexistent/s")
	if _, err := c.Stats(context.Background()); !errors.Is(err, cnm.Unavailable) || !strings.Contains(err.Error(), "no daemon answers at unix:///nonexistent/s") {
		t.Errorf("no daemon: %v", err)
	}
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "odd", http.StatusTeapot) }))
	defer odd.Close()
	c = newTestClient(t, "tcp://"+odd.Listener.Addr().String())
	if _, err := c.Stats(context.Background()); err == nil || !strings.Contains(err.Error(), "418") || !strings.Contains(err.Error(), "odd") {
		t.Errorf("odd server: %v", err)
	}
}
