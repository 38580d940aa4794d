package ipsec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The bounds of an announcement.
const (
	// MaxWorkers is how many SAs a node may send by to one peer, each of 3 KiB to
	// the receiver.
	MaxWorkers = 64
	// MaxAnnouncement is the longest encoding, in bytes.
	MaxAnnouncement = 1024

	maxNode   = 255
	publicLen = 32
	version   = 1
	flagESN   = 1
	flagIP    = 2

	// domain sets what is signed apart from all else that a node's key signs.
	domain = "weft epoch key announcement\x00"
)

// An Announcement is what a node tells the others of its key of one epoch.
// Announcements of the same content are equal.
type Announcement struct {
	Node       string         // 1 to 255 bytes
	VTEP       netip.AddrPort // where it sends from, and receives ESP; no zone, not IPv4-mapped
	Generation uint64         // rises with each start of the node's daemon
	Epoch      uint64
	Algorithm  Algorithm // that it seals with
	ESN        bool      // whether its sequence numbers have 64 bits
	InIP       bool      // whether it receives ESP in IP as well as in UDP
	Workers    int       // how many SAs it sends by, 1 to MaxWorkers
	Public     [publicLen]byte
}

// A Signer signs a message with the node's key.
type Signer func(message []byte) (signature []byte, err error)

// A Verifier checks that the signature of a message is that of the node which a
// names, and that the node may say of itself what a says: its VTEP above all.
type Verifier func(a *Announcement, message, signature []byte) error

// check holds an announcement against its bounds.
func (a *Announcement) check() error {
	addr := a.VTEP.Addr()
	switch {
	case len(a.Node) == 0 || len(a.Node) > maxNode:
		return fmt.Errorf("node name of %d bytes, want 1 to %d", len(a.Node), maxNode)
	case !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() || a.VTEP.Port() == 0:
		return fmt.Errorf("VTEP %v is not one host's address and port", a.VTEP)
	case !a.Algorithm.Valid():
		return fmt.Errorf("%v is unknown", a.Algorithm)
	case a.Workers < 1 || a.Workers > MaxWorkers:
		return fmt.Errorf("%d workers, want 1 to %d", a.Workers, MaxWorkers)
	}
	return nil
}

// appendBody appends the encoding of what is announced, numbers in network byte
// order:
//
//	version (1), length of node (1), node, length of address (1), address (4 or 16),
//	port (2), generation (8), epoch (8), algorithm (1), flags (1), workers (1),
//	public key (32)
func (a *Announcement) appendBody(b []byte) []byte {
	addr := a.VTEP.Addr().AsSlice()
	b = append(b, version, byte(len(a.Node)))
	b = append(b, a.Node...)
	b = append(b, byte(len(addr)))
	b = append(b, addr...)
	b = binary.BigEndian.AppendUint16(b, a.VTEP.Port())
	b = binary.BigEndian.AppendUint64(b, a.Generation)
	b = binary.BigEndian.AppendUint64(b, a.Epoch)
	flags := byte(0)
	if a.ESN {
		flags |= flagESN
	}
	if a.InIP {
		flags |= flagIP
	}
	b = append(b, byte(a.Algorithm), flags, byte(a.Workers))
	return append(b, a.Public[:]...)
}

// Encode returns an announcement's body and behind it the length (2 bytes) and the
// bytes of its signature.
func Encode(a Announcement, sign Signer) ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("announcement: %w", err)
	}
	body := a.appendBody(nil)
	signature, err := sign(append([]byte(domain), body...))
	if err != nil {
		return nil, fmt.Errorf("announcement: signing: %w", err)
	}
	if len(body)+2+len(signature) > MaxAnnouncement {
		return nil, fmt.Errorf("announcement: signature of %d bytes is too long", len(signature))
	}
	b := binary.BigEndian.AppendUint16(body, uint16(len(signature)))
	return append(b, signature...), nil
}

// Decode reads what Encode made, and returns it only if verify agrees. The error
// says what is wrong, or is that of verify, wrapped.
func Decode(b []byte, verify Verifier) (Announcement, error) {
	a, body, signature, err := parse(b)
	if err == nil {
		err = verify(&a, append([]byte(domain), body...), signature)
	}
	if err != nil {
		return Announcement{}, fmt.Errorf("announcement: %w", err)
	}
	return a, nil
}

var errCut = errors.New("is cut short")

func parse(b []byte) (a Announcement, body, signature []byte, err error) {
	if len(b) > MaxAnnouncement {
		return a, nil, nil, fmt.Errorf("%d bytes, at most %d", len(b), MaxAnnouncement)
	}
	r := reader{rest: b}
	if v := r.next(1)[0]; v != version && !r.short {
		return a, nil, nil, fmt.Errorf("version %d, want %d", v, version)
	}
	a.Node = string(r.next(int(r.next(1)[0])))
	addr, _ := netip.AddrFromSlice(r.next(int(r.next(1)[0])))
	a.VTEP = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(r.next(2)))
	a.Generation = binary.BigEndian.Uint64(r.next(8))
	a.Epoch = binary.BigEndian.Uint64(r.next(8))
	a.Algorithm = Algorithm(r.next(1)[0])
	flags := r.next(1)[0]
	a.ESN, a.InIP = flags&flagESN != 0, flags&flagIP != 0
	a.Workers = int(r.next(1)[0])
	a.Public = [publicLen]byte(r.next(publicLen))
	body = b[:len(b)-len(r.rest)]
	signature = r.next(int(binary.BigEndian.Uint16(r.next(2))))
	switch {
	case r.short:
		return a, nil, nil, errCut
	case len(r.rest) != 0:
		return a, nil, nil, fmt.Errorf("%d bytes follow its end", len(r.rest))
	case flags&^(flagESN|flagIP) != 0:
		return a, nil, nil, fmt.Errorf("flags %#x are unknown", flags)
	}
	return a, body, signature, a.check()
}

// A reader hands out bytes one after the other; when there are too few, zeros, and
// remembers that.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) next(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}
