package cluster

import (
	"strings"
	"testing"
)

func TestMTURow(t *testing.T) {
	for _, mtu := range []int{leastMTU, 1450, mostMTU} {
		if got, err := decodeMTU(encodeMTU(mtu)); err != nil || got != mtu {
			t.Errorf("MTU %d became %d, %v", mtu, got, err)
		}
	}
	for _, tt := range []struct{ name, value, want string }{
		{"too small", `{"mtu":505}`, "expected 506 to 65535"},
		{"too large", `{"mtu":65536}`, "expected 506 to 65535"},
		{"missing", `{}`, "expected 506 to 65535"},
		{"no number", `{"mtu":"x"}`, "cannot unmarshal"},
		{"garbage", "\x00", "invalid character"},
	} {
		if _, err := decodeMTU([]byte(tt.value)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, expected %q", tt.name, err, tt.want)
		}
	}
}
