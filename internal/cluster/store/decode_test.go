package store

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"weft/internal/cnm"
)

// samples is one command of each kind.
func samples() []Command {
	return []Command{
		initCluster(), SetSpec{Now: t0}, RotateToken{Secrets{"a", "b"}, t0}, SetRoots{1, []Root{{Certificate: []byte("x")}}, t0},
		AddGossipKey{key(2)}, UseGossipKey{key(2)}, DropGossipKey{key(2)}, AdvanceEpoch{0, t0}, node("n1", cnm.Worker),
		PutCertificate{"n1", Certificate{Serial: "1"}, t0}, UpdateNode{ID: "n1", Now: t0}, RemoveNode{"n1", true, t0}, overlay(1, "a", "10.5.0.0/16"), RemoveNetwork{id(1)},
		alloc(1, 1), ReleaseEndpoint{ID: id(1)}, ReleaseNode{"n1", []string{id(1)}, 5},
	}
}

// Every command comes back as it was sent, and none is missing in the list of
// kinds.
func TestCodec(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range samples() {
		doc, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(doc)
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: %+v, %v; want %+v", c.kind(), back, err, c)
		}
		seen[c.kind()] = true
	}
	if len(seen) != len(commands) {
		t.Fatalf("%d kinds tried of %d", len(seen), len(commands))
	}
}

func TestDecodeRefused(t *testing.T) {
	for _, c := range []struct {
		name, doc string
		kind      cnm.Kind
		want      string
	}{
		{"nothing", "", cnm.Invalid, "cannot be read"},
		{"kind", `{"kind":"rm -rf","body":{}}`, cnm.Unsupported, `"rm -rf" is not known`},
		{"member", `{"kind":"network remove","body":{"ID":"x","Later":1}}`, cnm.Invalid, "Later"},
		{"body", `{"kind":"network remove","body":[]}`, cnm.Invalid, "cannot be read"},
		{"no body", `{"kind":"network remove"}`, cnm.Invalid, "cannot be read"},
		{"more", `{"kind":"network remove","body":{}}{}`, cnm.Invalid, "more than one"},
		{"size", strings.Repeat(" ", MaxCommand+1), cnm.Invalid, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Decode([]byte(c.doc)); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Encode(ReleaseEndpoint{ID: strings.Repeat("x", MaxCommand)}); !errors.Is(err, cnm.Invalid) {
		t.Fatalf("too long: %v", err)
	}
}

// FuzzApply applies whatever bytes: no panic, and a state that can be written and
// restored.
func FuzzApply(f *testing.F) {
	for _, c := range samples() {
		doc, _ := Encode(c)
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		b := newBench(t, overlay(1, "a"), alloc(1, 1))
		before := b.bytes(t)
		_, changed, err := b.apply(math.MaxUint32, doc)
		if err != nil && (changed || !bytes.Equal(before, b.bytes(t))) {
			t.Fatalf("refused with %v, and yet changed", err)
		}
		b.copied(t)
	})
}

// Every cut and every flipped byte of a stream is noticed.
func TestTornState(t *testing.T) {
	whole := newBench(t, overlay(1, "a"), alloc(1, 1)).bytes(t)
	if _, err := readState(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := readState(bytes.NewReader(whole[:n])); !errors.Is(err, errTorn) {
			t.Fatalf("cut to %d bytes of %d: %v", n, len(whole), err)
		}
		bad := bytes.Clone(whole)
		bad[n] ^= 1
		if s, err := readState(bytes.NewReader(bad)); err == nil {
			t.Fatalf("byte %d flipped: %+v", n, s)
		}
	}
	for _, c := range []struct{ name, text, want string }{
		{"foreign", "hello\n", "torn"},
		{"other format", `{"Head":{"Format":"x","Version":1,"State":0}}` + "\n", `format "x" found`},
		{"other version", `{"Head":{"Format":"weft cluster state","Version":9,"State":0}}` + "\n", "version 9 of the format"},
		{"no head", `{"Cluster":{}}` + "\n", "not what belongs there"},
		{"behind the end", string(whole) + "x", "behind the last"},
		{"endless", strings.Repeat("x", maxRecord+1), "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := readState(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
}

// A table that was read stays as it was.
func TestTable(t *testing.T) {
	var a Table[int]
	b := a.with("x", 1)
	c := b.with("y", 2).with("x", 3)
	d := c.without("x", "none")
	if a.Len() != 0 || b.Len() != 1 || c.Len() != 2 || d.Len() != 1 {
		t.Fatalf("lengths %d %d %d %d", a.Len(), b.Len(), c.Len(), d.Len())
	}
	if v, ok := b.Get("x"); v != 1 || !ok {
		t.Fatalf("x of the older table is %d", v)
	}
	if v, ok := c.Get("x"); v != 3 || !ok {
		t.Fatalf("x of the newer table is %d", v)
	}
	for range c.All() {
		break
	}
}
