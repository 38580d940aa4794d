package ipsec

import (
	"bytes"
	"net/netip"
	"testing"

	"weft/internal/frame"
)

func TestTableLookup(t *testing.T) {
	_, in, table := testSAs(t, AES256GCM, true)
	for _, c := range []struct {
		name, addr string
		spi        uint32
		want       *Inbound
	}{
		{"found", "192.0.2.1", in.SPI(), in},
		{"IPv4-mapped", "::ffff:192.0.2.1", in.SPI(), in},
		{"another address", "192.0.2.2", in.SPI(), nil},
		{"another SPI", "192.0.2.1", in.SPI() + 1, nil},
		{"IPv6", "2001:db8::1", in.SPI(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := table.Lookup(netip.MustParseAddr(c.addr), c.spi); got != c.want {
				t.Fatalf("%v", got)
			}
		})
	}
	six, err := newInbound(testMaterial(AES256GCM, true, 5, 1), netip.MustParseAddrPort("[2001:db8::1]:4500"))
	if err != nil {
		t.Fatal(err)
	}
	table, _ = NewTable([]*Inbound{in, six})
	if got := table.Lookup(netip.MustParseAddr("2001:db8::1"), 5); got != six {
		t.Error("an IPv6 peer's SA is not found")
	}
	if table.Lookup(netip.MustParseAddr("2001:db9::1"), 5) != nil || table.Lookup(netip.MustParseAddr("2001:db8::2"), 5) != nil {
		t.Error("found by a part of the address")
	}
	if (*Table)(nil).Lookup(vtepA.Addr(), 1) != nil {
		t.Error("no table has an SA")
	}
}

// TestSameSPI has several SAs of one source with one SPI: the ICV tells them apart,
// and each has its own window.
func TestSameSPI(t *testing.T) {
	var ins []*Inbound
	var outs []*Outbound
	for i := range maxSame + 2 {
		m := testMaterial(AES256GCM, true, 0x1000, byte(10*i))
		ins = append(ins, testInbound(t, m))
		o, err := newOutbound(m)
		if err != nil {
			t.Fatal(err)
		}
		outs = append(outs, o)
	}
	table, refused := NewTable(append(ins, ins[0], ins[1]))
	if table.Len() != maxSame || len(refused) != 2 || refused[0] != ins[maxSame] || refused[1] != ins[maxSame+1] {
		t.Fatalf("%d SAs, %d refused", table.Len(), len(refused))
	}
	for i, o := range outs[:maxSame] {
		for range 3 {
			packet := sealed(t, o, NextUDP, []byte("whose?"))
			got, r := NewOpener().Open(table, vtepA.Addr(), bytes.Clone(packet))
			if r != frame.NotDropped || got.SA != ins[i] || string(got.Payload) != "whose?" {
				t.Fatalf("SA %d: %v, %q", i, r, got.Payload)
			}
			if _, r := NewOpener().Open(table, vtepA.Addr(), packet); r == frame.NotDropped {
				t.Fatalf("SA %d: replayed", i)
			}
		}
	}
	outs[maxSame].seq.Store(1000) // which none of the others has seen
	refuses(t, table, sealed(t, outs[maxSame], NextUDP, []byte("nobody's")), frame.BadICV)
}

// An opener that has opened a packet looks its SA up again when the table has changed,
// and for another source or SPI.
func TestOpenerLooksAgain(t *testing.T) {
	o, _, table := testSAs(t, AES256GCM, true)
	other, in, _ := testSAs(t, AES128GCM, true)
	in.vtep = vtepA
	in.spi = o.SPI() + 1
	other.spi = in.spi
	empty, _ := NewTable(nil)
	both, _ := NewTable([]*Inbound{table.Lookup(vtepA.Addr(), o.SPI()), in})
	op := NewOpener()
	for i, c := range []struct {
		table  *Table
		source netip.Addr
		by     *Outbound
		want   frame.Reason
	}{
		{table, vtepA.Addr(), o, frame.NotDropped},
		{table, vtepB.Addr(), o, frame.UnknownSPI},
		{table, vtepA.Addr(), o, frame.NotDropped},
		{table, vtepA.Addr(), other, frame.UnknownSPI},
		{both, vtepA.Addr(), other, frame.NotDropped},
		{both, vtepA.Addr(), o, frame.NotDropped},
		{empty, vtepA.Addr(), o, frame.UnknownSPI},
		{nil, vtepA.Addr(), o, frame.UnknownSPI},
		{table, vtepA.Addr(), o, frame.NotDropped},
	} {
		if _, r := op.Open(c.table, c.source, sealed(t, c.by, NextUDP, []byte("payload"))); r != c.want {
			t.Errorf("packet %d: %v, want %v", i, r, c.want)
		}
	}
}
