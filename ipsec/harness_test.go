package ipsec

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"

	"weft/internal/frame"
)

var (
	algorithms = []Algorithm{AES256GCM, AES128GCM, ChaCha20Poly1305}
	vtepA      = netip.MustParseAddrPort("192.0.2.1:4500")
	vtepB      = netip.MustParseAddrPort("192.0.2.2:4500")
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testMaterial is a fixed key: byte i of key and salt together is seed+i.
func testMaterial(a Algorithm, esn bool, spi uint32, seed byte) *material {
	m := &material{spi: spi, algorithm: a, esn: esn, aes: testAES, key: make([]byte, a.keyLen())}
	for i := range m.key {
		m.key[i] = seed + byte(i)
	}
	for i := range m.salt {
		m.salt[i] = seed + byte(len(m.key)+i)
	}
	return m
}

// testSAs returns both ends of one SA, and a table with the inbound one.
func testSAs(t testing.TB, a Algorithm, esn bool) (*Outbound, *Inbound, *Table) {
	t.Helper()
	o, err := newOutbound(testMaterial(a, esn, 0x01020304, 1))
	if err != nil {
		t.Fatal(err)
	}
	in := testInbound(t, testMaterial(a, esn, 0x01020304, 1))
	table, _ := NewTable([]*Inbound{in})
	return o, in, table
}

func testInbound(t testing.TB, m *material) *Inbound {
	t.Helper()
	in, err := newInbound(m, vtepA)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// sealed returns a packet in memory of its own.
func sealed(t testing.TB, o *Outbound, next uint8, pieces ...[]byte) []byte {
	t.Helper()
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	b := make([]byte, o.Algorithm().PacketLen(n))
	got, r := NewSealer().Seal(o, b, next, pieces...)
	if r != frame.NotDropped || got != len(b) {
		t.Fatalf("sealing %d bytes: %d, %v", n, got, r)
	}
	return b
}

// opens wants a packet opened to a payload; it opens a copy.
func opens(t testing.TB, table *Table, packet, want []byte, next uint8) {
	t.Helper()
	got, r := NewOpener().Open(table, vtepA.Addr(), bytes.Clone(packet))
	if r != frame.NotDropped || got.Next != next || !bytes.Equal(got.Payload, want) {
		t.Fatalf("opened to %x, next header %d, %v; want %x, %d", got.Payload, got.Next, r, want, next)
	}
}

// refuses wants a packet dropped for a reason; it opens a copy.
func refuses(t testing.TB, table *Table, packet []byte, want frame.Reason) {
	t.Helper()
	if _, r := NewOpener().Open(table, vtepA.Addr(), bytes.Clone(packet)); r != want {
		t.Fatalf("%v, want %v", r, want)
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
