package nat

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/frame"
)

// TestPreview: what is foreseen is what comes of it, and nothing is kept.
func TestPreview(t *testing.T) {
	const server, server6 = "203.0.113.7:80", "[2001:db8:7::7]:80"
	tests := []struct {
		name string
		from Side
		b    []byte
		by   string // words at the end
		drop frame.Reason
	}{
		{"a new flow", Inside, udp("172.18.0.2:4000", server, "x"), "by a new flow", 0},
		{"a new flow, IPv6", Inside, tcp("[fd00:18::2]:4000", server6, flagSYN, 1, 0), "by a new flow", 0},
		{"a published socket's own", Inside, udp("172.18.0.2:53", server, "x"), "by the port that it is published by", 0},
		{"a published socket's own, at any address", Inside, tcp("172.18.0.2:80", server, flagSYN, 1, 0), "by the port that it is published by", 0},
		{"by a published port", Outside, tcp(server, "198.51.100.1:8080", flagSYN, 1, 0), "by a published port", 0},
		{"hairpin", Inside, tcp("172.18.0.3:4000", "198.51.100.1:8080", flagSYN, 1, 0), "by a new flow, and back in by a published port", 0},
		{"for nobody", Outside, udp(server, "198.51.100.1:81", "x"), "", frame.NoFlow},
		{"to weft's own", Inside, udp("172.18.0.2:4000", "172.18.0.3:1", "x"), "", frame.StaysInside},
		{"neither", Inside, tcp("172.18.0.2:4000", server, flagFIN, 1, 0), "", frame.BadState},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			tab := testTable(t, Config{})
			for _, round := range []string{"before", "after"} {
				f, g := wrap(t, c.b), wrap(t, c.b)
				flows := tab.Stats().Flows
				side, words, r := tab.Preview(f, c.from == Inside)
				if n := tab.Stats().Flows; n != flows {
					t.Errorf("%s: %d flows became %d", round, flows, n)
				}
				if r != c.drop || r == 0 && round == "before" && !strings.HasSuffix(words, c.by) {
					t.Errorf("%s: %q, %v, want %q, %v", round, words, r, c.by, c.drop)
				}
				if r == 0 && round == "after" && !strings.Contains(words, "by a flow that there is") {
					t.Errorf("after: %q", words)
				}
				wantSide, want := cross(tab, c.from, g, 1)
				if r != want || r == 0 && side != wantSide || !bytes.Equal(f.Bytes(), g.Bytes()) {
					t.Errorf("%s: foreseen %v, %v\n%x, came %v, %v\n%x", round, side, r, f.Bytes(), wantSide, want, g.Bytes())
				}
			}
		})
	}
}

// TestReached: who is only to be reached answers, and begins nothing.
func TestReached(t *testing.T) {
	tab := testTable(t, Config{})
	rules := testRules()
	rules.Reached = []netip.Addr{ip("172.18.0.2")}
	pass(t, tab, Inside, udp("172.18.0.2:4000", "203.0.113.7:80", "x"), 1)
	tab.SetRules(rules)
	if n := tab.Stats().Flows; n != 0 {
		t.Errorf("%d flows go on", n)
	}
	for name, b := range map[string][]byte{
		"out": udp("172.18.0.2:4000", "203.0.113.7:80", "x"), "by its published port": udp("172.18.0.2:53", "203.0.113.7:80", "x"),
		"hairpin": udp("172.18.0.2:4000", "198.51.100.1:5353", "x"),
	} {
		if _, r := tab.Outbound(wrap(t, b), 1); r != frame.NoRoute {
			t.Errorf("%s: %v", name, r)
		}
	}
	pass(t, tab, Inside, udp("172.18.0.3:4000", "203.0.113.7:80", "x"), 1)
	pass(t, tab, Outside, tcp("203.0.113.7:4000", "198.51.100.1:8080", flagSYN, 1, 0), 1)
	pass(t, tab, Inside, tcp("172.18.0.2:80", "203.0.113.7:4000", flagSYN|flagACK, 1, 2), 1)
}
