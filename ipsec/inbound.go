package ipsec

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"weft/internal/frame"
)

// Theory of operation: opening
//
// Source address and SPI lead to the SA. Its window infers the high half of the
// sequence number and refuses what has come already, before any cryptography; the
// packet is authenticated and decrypted in place; only then is the number noted
// (RFC 4303, 3.4.3). What fails leaves the SA as it was.
//
// SPIs are derived, not assigned, so two SAs of one source address may have the
// same, one time in 2^26 if workers of one number have them. The table then holds
// both, and the ICV tells which one is meant: each is tried on a copy. Linux and
// others that know one SA for an SPI would lose such packets until the next epoch.
//
// Several workers may open packets of one SA at the same time: a kernel that merges
// packets knows nothing of SAs, and which worker serves what changes. The window is
// made of atomic words (window.go), counters are atomic, and the scratch memory is
// the Opener's.

// An Inbound is an SA that this node receives by.
type Inbound struct {
	spi       uint32
	algorithm Algorithm
	esn       bool
	salt      [saltLen]byte
	key       []byte // for Export
	vtep      netip.AddrPort
	aead      cipher.AEAD
	peer      atomic.Pointer[Peer] // whose pairs it belongs to, set by Add

	window   window
	packets  atomic.Uint64
	bytes    atomic.Uint64
	replayed atomic.Uint64
	forged   atomic.Uint64
}

func newInbound(m *material, vtep netip.AddrPort) (*Inbound, error) {
	aead, err := m.algorithm.aead(m.key, m.aes)
	if err != nil {
		return nil, err
	}
	return &Inbound{spi: m.spi, algorithm: m.algorithm, esn: m.esn, salt: m.salt, key: bytes.Clone(m.key), vtep: vtep, aead: aead}, nil
}

// SPI returns the number by which the SA is known.
func (i *Inbound) SPI() uint32 { return i.spi }

// VTEP returns the VTEP that sends by the SA, as it was announced. Packets must come
// from its address; from which port is left to NATs.
func (i *Inbound) VTEP() netip.AddrPort { return i.vtep }

// Peer returns who sends by the SA, nil if its pair was added to none.
func (i *Inbound) Peer() *Peer { return i.peer.Load() }

// Packets and Bytes return how many packets were opened, and the bytes of payload
// in them.
func (i *Inbound) Packets() uint64 { return i.packets.Load() }
func (i *Inbound) Bytes() uint64   { return i.bytes.Load() }

// Replayed and Forged return how many packets were refused because they had come
// already or were behind the window, and because the ICV was wrong.
func (i *Inbound) Replayed() uint64 { return i.replayed.Load() }
func (i *Inbound) Forged() uint64   { return i.forged.Load() }

// An Opener opens packets for one worker.
type Opener struct {
	nonce [nonceLen]byte
	aad   [12]byte
	spare []byte // a copy of a packet that several SAs may open

	// What was looked up last: packets come in trains.
	table  *Table
	source netip.Addr
	spi    uint32
	entry  entry
}

// NewOpener returns an opener.
func NewOpener() *Opener { return &Opener{spare: make([]byte, MaxPacket)} }

// Opened is what a packet held.
type Opened struct {
	// Payload lies in the packet, at PayloadOffset.
	//
	// borrowed: as the packet is.
	Payload []byte
	// Next is the kind of the payload. Whoever expects UDP discards all but
	// NextUDP, dummy packets (NextNone) without a word.
	Next uint8
	// SA is what the packet came by.
	SA *Inbound
}

// Open decrypts a packet in place. It begins with the SPI and came from source.
// The reason is BadESP if it cannot be an ESP packet, or if it is authentic and
// its padding contradicts itself; UnknownSPI, Replayed or BadICV. The packet's
// bytes are lost in all cases.
func (o *Opener) Open(t *Table, source netip.Addr, packet []byte) (Opened, frame.Reason) {
	const least = payloadAt + alignment + 16
	if len(packet) < least || len(packet) > MaxPacket || (len(packet)-least)%alignment != 0 {
		return Opened{}, frame.BadESP
	}
	if spi := binary.BigEndian.Uint32(packet); t != o.table || spi != o.spi || source != o.source {
		o.table, o.source, o.spi, o.entry = t, source, spi, t.find(source, spi)
	}
	e := &o.entry
	if e.first == nil {
		return Opened{}, frame.UnknownSPI
	}
	if e.rest == nil {
		return o.open(e.first, packet)
	}
	spare := o.spare[:copy(o.spare, packet)]
	got, r := o.open(e.first, packet)
	for _, sa := range e.rest {
		if r != frame.BadICV && r != frame.Replayed {
			break
		}
		copy(packet, spare)
		got, r = o.open(sa, packet)
	}
	return got, r
}

func (o *Opener) open(sa *Inbound, packet []byte) (Opened, frame.Reason) {
	seq, ok := sa.window.number(binary.BigEndian.Uint32(packet[4:]), sa.esn)
	if !ok || !sa.window.fresh(seq) {
		sa.replayed.Add(1)
		return Opened{}, frame.Replayed
	}
	*(*[saltLen]byte)(o.nonce[:]) = sa.salt
	*(*[8]byte)(o.nonce[saltLen:]) = *(*[8]byte)(packet[ivAt:])
	sealed := packet[payloadAt:]
	plain, err := sa.aead.Open(sealed[:0], o.nonce[:], sealed, associate(&o.aad, sa.spi, seq, sa.esn))
	if err != nil {
		sa.forged.Add(1)
		return Opened{}, frame.BadICV
	}
	if !sa.window.take(seq) { // another worker was faster
		sa.replayed.Add(1)
		return Opened{}, frame.Replayed
	}
	n, ok := unpad(plain)
	if !ok {
		return Opened{}, frame.BadESP
	}
	sa.packets.Add(1)
	sa.bytes.Add(uint64(n))
	return Opened{Payload: plain[:n:n], Next: plain[len(plain)-1], SA: sa}, frame.NotDropped
}

// unpad returns the length of the payload in front of padding and trailer. The
// padding must count 1, 2, 3 (RFC 4303, 2.4). b has at least 4 bytes.
func unpad(b []byte) (n int, ok bool) {
	end := len(b) - trailer
	pad := int(b[end])
	if pad > end {
		return 0, false
	}
	n = end - pad
	for i, v := range b[n:end] {
		if int(v) != i+1 {
			return 0, false
		}
	}
	return n, true
}
