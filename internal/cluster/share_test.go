package cluster

import (
	"reflect"
	"strings"
	"testing"
)

func TestNodeRow(t *testing.T) {
	for _, s := range []Share{{MTU: leastMTU}, {MTU: 1450}, {MTU: mostMTU, Keys: [][]byte{{1, 2}, {3}}}, {Keys: [][]byte{{0}}}} {
		b, err := encodeNode(&s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeNode(b); err != nil || got.MTU != s.MTU || !reflect.DeepEqual(got.Keys, s.Keys) {
			t.Errorf("%+v became %+v, %v", s, got, err)
		}
	}
	if b, err := encodeNode(&Share{}); b != nil || err != nil {
		t.Errorf("nothing to say: %s, %v", b, err)
	}
	for _, tt := range []struct{ name, value, want string }{
		{"too small", `{"mtu":505}`, "expected 506 to 65535"},
		{"too large", `{"mtu":65536}`, "expected 506 to 65535"},
		{"no number", `{"mtu":"x"}`, "cannot unmarshal"},
		{"no bytes", `{"k":["?"]}`, "illegal base64"},
		{"too many keys", `{"k":["","","","",""]}`, "5 keys are announced"},
		{"garbage", "\x00", "invalid character"},
		{"too long", strings.Repeat(" ", maxEndpoint+1), "at most 16384 are possible"},
	} {
		if _, err := decodeNode([]byte(tt.value)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, expected %q", tt.name, err, tt.want)
		}
	}
}

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte(`{"mtu":1450,"k":["AQI=","Aw=="]}`))
	f.Add([]byte(`{"k":["","","",""]}`))
	f.Add([]byte(`{"mtu":65536}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		w, err := decodeNode(value)
		if err != nil {
			return
		}
		if w.MTU != 0 && (w.MTU < leastMTU || w.MTU > mostMTU) || len(w.Keys) > maxAnnouncements {
			t.Fatalf("%q gave %+v", value, w)
		}
		s := Share{MTU: w.MTU, Keys: w.Keys}
		b, err := encodeNode(&s)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return
		}
		again, err := decodeNode(b)
		if err != nil && len(b) <= maxEndpoint || err == nil && (again.MTU != w.MTU || len(again.Keys) != len(w.Keys)) {
			t.Fatalf("%+v became %+v, %v", w, again, err)
		}
	})
}
