package frame

import (
	"encoding/json"
	"testing"
)

func TestParseMAC(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
	}{
		{"colons", "02:42:ac:11:00:02", "02:42:ac:11:00:02"},
		{"hyphens and capitals", "02-42-AC-11-00-FF", "02:42:ac:11:00:ff"},
		{"empty", "", ""},
		{"short", "02:42:ac:11:00", ""},
		{"eui64", "02:42:ac:11:00:02:03:04", ""},
		{"mixed separators", "02:42-ac:11:00:02", ""},
		{"dots", "02.42.ac.11.00.02", ""},
		{"not hex", "0g:42:ac:11:00:02", ""},
		{"not hex low", "02:42:ac:11:00:0x", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := ParseMAC(c.in)
			if c.want == "" {
				if err == nil {
					t.Fatalf("ParseMAC(%q) = %v, want an error", c.in, m)
				}
				return
			}
			if err != nil || m.String() != c.want {
				t.Fatalf("ParseMAC(%q) = %v, %v, want %s", c.in, m, err, c.want)
			}
		})
	}
}

func TestMACJSON(t *testing.T) {
	type box struct{ A, B MAC }
	in := box{A: MAC{2, 0x42, 10, 0, 0, 2}}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"A":"02:42:0a:00:00:02","B":""}` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	out := box{B: MAC{1}}
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Fatalf("Unmarshal = %v, %v, want %v", out, err, in)
	}
	if err := json.Unmarshal([]byte(`{"A":"zz"}`), &out); err == nil {
		t.Fatal("Unmarshal took a bad address")
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("02:42:ac:11:00:02")
	f.Add("02-42-AC-11-00-FF")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(m.String()); err != nil || again != m {
			t.Fatalf("%q: %v does not parse back: %v", s, m, err)
		}
	})
}
