package nettool_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"weft/internal/nettest"
	"weft/internal/nettool"
)

// TestPing has raw sockets, as every process in a sandbox has.
func TestPing(t *testing.T) {
	nettest.Namespaced(t, func(t *testing.T) {
		for _, c := range []struct {
			name, addr, want string
			code             int
		}{
			{"IPv4", "127.0.0.1", "3 packets transmitted, 3 received, 0% packet loss", 0},
			{"IPv6", "::1", "3 packets transmitted, 3 received, 0% packet loss", 0},
			{"nobody", "192.0.2.1", "3 packets transmitted, 0 received, 100% packet loss", 1},
		} {
			t.Run(c.name, func(t *testing.T) {
				var out bytes.Buffer
				args := []string{"ping", "-c", "3", "-i", "1ms", "-W", "100ms", "-s", "1000", c.addr}
				if code := nettool.Main(context.Background(), args, &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
					t.Errorf("exit %d: %s", code, &out)
				}
			})
		}
		var out bytes.Buffer
		if code := nettool.Main(context.Background(), []string{"forge", "127.9.9.9", "127.0.0.1"}, &out, &out); code != 0 {
			t.Errorf("forge: exit %d: %s", code, &out)
		}
		if code := nettool.Main(context.Background(), []string{"links"}, &out, &out); code != 0 || !strings.Contains(out.String(), "lo mtu 65536 127.0.0.1/8") {
			t.Errorf("links: exit %d: %s", code, &out)
		}
	})
}
