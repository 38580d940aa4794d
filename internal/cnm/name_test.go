package cnm

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/frame"
)

// wantErr fails unless err is nil (want empty) or contains want and has a kind.
func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("error %q, want none", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q, want %q", err, want)
	}
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("error %q has no kind", err)
	}
}

func TestNetworkName(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "front", ""},
		{"one letter", "a", ""},
		{"all characters", "A0_b.c-d", ""},
		{"empty", "", "name is empty"},
		{"blank", "  ", "name is empty"},
		{"predefined", "bridge", "operation is not permitted on predefined bridge network"},
		{"predefined default", "default", "predefined default network"},
		{"other name of none", "null", "predefined null network"},
		{"slash", "a/b", "only [a-zA-Z0-9]"},
		{"leading dash", "-a", "only [a-zA-Z0-9]"},
		{"umlaut", "über", "only [a-zA-Z0-9]"},
		{"too long", strings.Repeat("x", 129), "at most 128"},
		{"an id", strings.Repeat("ab", 32), "taken for a network ID"},
		{"short hex is a name", "abcdef", ""},
	} {
		t.Run(c.name, func(t *testing.T) { wantErr(t, ValidateNetworkName(c.in), c.want) })
	}
}

func TestSandboxName(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"generated", "", ""},
		{"plain", "rose", ""},
		{"one letter", "r", "Invalid container name (r), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"},
		{"space", "a b", "Invalid container name"},
	} {
		t.Run(c.name, func(t *testing.T) { wantErr(t, ValidateSandboxName(c.in), c.want) })
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 2000 {
		id := NewID()
		if !IsID(id) || len(ShortID(id)) != 12 || seen[id] {
			t.Fatalf("NewID = %q", id)
		}
		if strings.Trim(ShortID(id), "0123456789") == "" {
			t.Fatalf("short form of %q is a number", id)
		}
		seen[id] = true
	}
	if IsID("xyz") || IsIDPrefix("") || IsIDPrefix("AB") {
		t.Fatal("not identifiers")
	}
}

// Golden cases of docker-networking.md §10 (a): the address gives the MAC.
func TestMACFromIPv4(t *testing.T) {
	for _, c := range []struct{ name, ip, want string }{
		{"frontend", "172.19.0.2", "02:42:ac:13:00:02"},
		{"backend", "172.20.0.2", "02:42:ac:14:00:02"},
		{"overlay", "10.0.1.2", "02:42:0a:00:01:02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m := MACFromIPv4(netip.MustParseAddr(c.ip)); m.String() != c.want {
				t.Fatalf("MAC of %s = %v, want %s", c.ip, m, c.want)
			}
		})
	}
	seen := map[frame.MAC]bool{}
	for range 100 {
		m := RandomMAC()
		if m.IsGroup() || m[0]&2 == 0 || seen[m] {
			t.Fatalf("RandomMAC = %v", m)
		}
		seen[m] = true
	}
}

func TestNextIfName(t *testing.T) {
	for _, c := range []struct {
		name string
		used []string
		want string
	}{
		{"first", nil, "eth0"},
		{"second", []string{"eth0"}, "eth1"},
		{"gap", []string{"eth0", "eth2"}, "eth1"},
		{"other prefix", []string{"net0"}, "eth0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NextIfName("eth", c.used); got != c.want {
				t.Fatalf("NextIfName = %s, want %s", got, c.want)
			}
		})
	}
}

func TestGenerateName(t *testing.T) {
	tries := 0
	name := GenerateName(func(string) bool { tries++; return tries <= 20 })
	if tries != 21 || ValidateSandboxName(name) != nil {
		t.Fatalf("GenerateName = %q after %d tries", name, tries)
	}
	for _, w := range append(adjectives[:], surnames[:]...) {
		if strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("bad word %q", w)
		}
	}
}

func TestKinds(t *testing.T) {
	cause := errors.New("cause")
	err := Errorf(Conflict, "net: %w", cause)
	if !errors.Is(err, Conflict) || errors.Is(err, Invalid) || !errors.Is(err, cause) || err.Error() != "net: cause" {
		t.Fatalf("Errorf = %v", err)
	}
}
