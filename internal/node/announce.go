package node

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cnm"
	"weft/ipsec"
)

// Theory of operation: announcements on static overlays
//
// Nodes of a static overlay that is encrypted send each other their announcements, by
// the port that ESP comes by, behind the non-ESP marker (RFC 3948, 2.2):
//
//	0        4                   12
//	+--------+-------------------+---------------------------+
//	| zeros  | announceMagic     | announcement (ipsec)      |
//	+--------+-------------------+---------------------------+
//
// IKE has the initiator's SPI in the magic's place, which is random: by it IKE and
// announcements are told apart. A peer is told often until it was heard, then every
// tellEvery, and at once when it has said something new. Nothing in an announcement is
// believed that was not made with the overlay's secret, by a VTEP that is a peer and
// has the sender's address.
//
// Epochs are counted by the clock. A node whose clock is off by less than an epoch has
// one in common with the others, for each has keys of two.

const announceMagic = "weftkey1"

const (
	// staticEpoch is how long an epoch of a static overlay lasts.
	staticEpoch = 12 * time.Hour
	firstTell   = 100 * time.Millisecond
	tellEvery   = 30 * time.Second
	// maxMarked is how many datagrams wait to be looked at.
	maxMarked = 64
)

// A telling is when a peer is told next.
type telling struct {
	next  time.Time
	pause time.Duration
}

// A marked is a datagram that came behind the non-ESP marker.
type marked struct {
	from     netip.AddrPort
	datagram []byte
}

// takeMarked is called by a worker. What cannot wait is lost, and comes again.
func (n *Node) takeMarked(from netip.AddrPort, datagram []byte) {
	rest, ours := bytes.CutPrefix(datagram, []byte(announceMagic))
	if !ours || len(rest) > ipsec.MaxAnnouncement || len(n.marked) == cap(n.marked) {
		return // before it costs a copy
	}
	select {
	case n.marked <- marked{from, bytes.Clone(rest)}:
	default:
	}
}

// tendStaticLocked tends the rings of a static overlay.
func (n *Node) tendStaticLocked(nw *network, used map[ringKey]map[string]bool, now time.Time) {
	for _, vtep := range n.dataPath() {
		six := vtep.Addr().Is6()
		key := ringKeyOf(&nw.overlay, six)
		r, err := n.ringLocked(key, staticEpochAt(now), vtep.Addr(), now)
		if err == nil {
			err = r.beginStatic(now)
		}
		if n.keyFaultLocked(nw.Name, err) {
			n.retryKeys = now.Add(keyEvery)
			continue
		}
		if used[key] == nil {
			used[key] = make(map[string]bool)
		}
		for _, p := range n.remotesLocked(nw) {
			if p.Addr().Is6() != six {
				continue
			}
			at := n.staticESP(nw, p)
			used[key][at.String()] = true
			if r.toTell[at] == nil {
				r.toTell[at] = &telling{now, firstTell}
			}
		}
	}
}

// staticESP is where a peer of a static overlay receives ESP: at the port that was
// given with it, else at the one this node has.
func (n *Node) staticESP(nw *network, vtep netip.AddrPort) netip.AddrPort {
	for _, p := range nw.overlay.Peers {
		if p.Addr() == vtep.Addr() && p.Port() != 0 && p.Port() == vtep.Port() {
			return p
		}
	}
	return netip.AddrPortFrom(vtep.Addr(), n.cfg.ESPPort)
}

// A letter is an announcement on its way.
type letter struct {
	to       netip.AddrPort
	datagram []byte
}

// tellLocked returns what peers are to be told now, and whether more is to be told
// soon.
func (r *ring) tellLocked(now time.Time) (letters []letter, soon bool) {
	for at, t := range r.toTell {
		if !now.Before(t.next) {
			for _, a := range r.Announcements() {
				letters = append(letters, letter{at, slices.Concat(make([]byte, 4), []byte(announceMagic), a)})
			}
			t.next, t.pause = now.Add(t.pause), min(2*t.pause, tellEvery)
		}
		soon = soon || t.pause < tellEvery
	}
	return letters, soon
}

// staticEpochAt is the epoch that a clock says it is.
func staticEpochAt(now time.Time) uint64 { return uint64(now.Unix()) / uint64(staticEpoch/time.Second) }

// beginStatic begins an epoch of a static overlay's ring when the clock says so; then
// everybody is told.
func (r *ring) beginStatic(now time.Time) error {
	began, err := r.Begin(staticEpochAt(now), now)
	if began {
		for _, t := range r.toTell {
			*t = telling{now, firstTell}
		}
	}
	return err
}

// tells reports whether a peer of a static overlay has an address.
func (r *ring) tells(a netip.Addr) bool {
	for at := range r.toTell {
		if at.Addr() == a {
			return true
		}
	}
	return false
}

// errStrange is why a peer's announcements come to nothing.
var errStrange = errors.New("what it announces is refused: it has another secret, cipher or weft.esn, or calls itself by another address or port than weft.peers has for it")

// errOlder is why a peer that was started again carries nothing.
var errOlder = errors.New("what it announces is older than what it has announced before: somebody repeats it, or it has lost the file generation of its data directory and its clock was set back; then it is heard again when its clock is where it was, or when this daemon was started again")

// hear is Hear, which says also that a peer announces what is older than what it did.
func (r *ring) hear(now time.Time, heard ...ipsec.Announcement) (fresh bool, err error) {
	fresh, err = r.Hear(now, heard...)
	for _, a := range heard {
		if _, last := r.Peer(a.Node); a.Generation < last.Generation {
			err = cmp.Or(err, errOlder)
		}
	}
	return fresh, err
}

// hearMarked takes an announcement that came by the ESP port.
func (n *Node) hearMarked(m marked) {
	n.mu.Lock()
	changed := n.hearLocked(m, n.now())
	n.mu.Unlock()
	if changed {
		n.publish("")
	}
}

// hearLocked reports whether a plan follows from an announcement.
func (n *Node) hearLocked(m marked, now time.Time) (changed bool) {
	taken, peer := false, false
	for key, r := range n.rings {
		if r.psk == nil || key.six != m.from.Addr().Is6() || !r.tells(m.from.Addr()) {
			continue // no peer's: nothing is computed for it
		}
		peer = true
		a, err := ipsec.Decode(m.datagram, r.psk.Verify)
		t := r.toTell[a.VTEP]
		if err != nil || t == nil || a.VTEP.Addr() != m.from.Addr() || a.Algorithm != key.algorithm || a.ESN != key.esn {
			continue
		}
		taken = true
		fresh, err := r.hear(now, a)
		n.keyFaultLocked(a.Node, err)
		if fresh {
			*t, changed = telling{now, firstTell}, true // it may not have heard of this node
		} else if t.pause < tellEvery/2 {
			t.pause = tellEvery
		}
	}
	if who := "peer " + m.from.Addr().String(); changed {
		delete(n.keyFaults, who)
	} else if peer && !taken {
		n.keyFaultLocked(who, errStrange) // once, whatever comes in its name
	}
	return changed
}

// staticSeals is what the tunnels of a static overlay are sealed by, nil for one in
// clear.
func (n *Node) staticSealsLocked(nw *network) map[netip.AddrPort]sealing {
	if nw.Driver != cnm.DriverOverlay || !nw.overlay.Encrypted {
		return nil
	}
	seals := make(map[netip.AddrPort]sealing)
	for _, p := range n.remotesLocked(nw) {
		at := n.staticESP(nw, p)
		s := n.sealLocked(nw, at.String(), p)
		if s.keys == n.noKeys {
			s.at = at
		}
		seals[p] = s
	}
	return seals
}
