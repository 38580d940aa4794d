package api

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"weft/internal/cnm"
)

func TestKeys(t *testing.T) {
	s := NewServer(newMemory(), nil)
	golden(t, "keys", ask(s, "GET", "/weft/v1/keys", "").Body.Bytes())
}

// Keys are given to who is on the Unix socket, and to nobody else.
func TestExportKeys(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	s, sock := serve(t, m)
	c := newTestClient(t, "unix://"+sock)
	for _, network := range []string{"", "front"} {
		keys, err := c.ExportKeys(ctx, network)
		if err != nil || len(keys) != 1 {
			t.Fatalf("%q: %v, %v", network, keys, err)
		}
		k := keys[0]
		if k.SPI != 0xabc123 || k.Cipher != "aes-256-gcm" || !k.ESN || string(k.Key) != "0123456789abcdef0123456789abcdefsalt" || k.From.String() != "192.0.2.1" {
			t.Errorf("%q: %+v", network, k)
		}
		want := `"IPv4","192.0.2.1","192.0.2.2","0x00abc123","AES-GCM with 16 octet ICV [RFC4106]","0x` + hex.EncodeToString(k.Key) + `","NULL",""`
		if k.Wireshark != want {
			t.Errorf("%q: line %s\nwant %s", network, k.Wireshark, want)
		}
	}
	if _, err := c.ExportKeys(ctx, "bridge"); !errors.Is(err, cnm.Invalid) || !strings.Contains(err.Error(), "is not encrypted") {
		t.Errorf("of a network in clear: %v", err)
	}
	if _, err := c.ExportKeys(ctx, "nowhere"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("of no network: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		<-served // an error or, after Shutdown, none
	})
	given := len(m.exported)
	tcp := newTestClient(t, "tcp://"+l.Addr().String())
	if rings, err := tcp.Keys(ctx); err != nil || len(rings) != 2 || len(rings[0].Peers) != 2 {
		t.Errorf("the list over TCP: %+v, %v", rings, err)
	}
	if keys, err := tcp.ExportKeys(ctx, "front"); !errors.Is(err, cnm.Forbidden) || keys != nil || !strings.Contains(err.Error(), "use the daemon's Unix socket") {
		t.Errorf("over TCP: %v, %v", keys, err)
	}
	// One that does not say how it came.
	if w := ask(s, "POST", "/weft/v1/keys/export", `{}`); w.Code != 403 {
		t.Errorf("from nowhere: %d %s", w.Code, w.Body)
	}
	if len(m.exported) != given {
		t.Errorf("the backend was asked for %v", m.exported[given:])
	}
}

func TestExportKeysBody(t *testing.T) {
	_, sock := serve(t, newMemory())
	for _, c := range []struct{ name, method, body, want string }{
		{"read", "GET", "", "404"},
		{"no body", "POST", "", "invalid JSON"},
		{"a list", "POST", "[]", "invalid JSON"},
	} {
		res, _, _ := dial(t, sock, fmt.Sprintf("%s /weft/v1/keys/export HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			c.method, len(c.body), c.body))
		text := res.Status + readAll(t, res.Body)
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}
