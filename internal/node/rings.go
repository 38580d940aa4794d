package node

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"weft/internal/cnm"
	"weft/internal/keyring"
	"weft/ipsec"
)

// Theory of operation: encrypted networks
//
// What leaves for another node on an encrypted network is sealed, and what comes from
// one is opened, by the underlay's sockets for ESP (package vxlan). Such a network has
// no way in clear: its tunnels are links that refuse what they have no key for, and
// the sockets for what is in clear know its VNI only to drop it.
//
// The keys are in rings (package keyring): one for each suite and family, and in a
// swarm one for all networks of that suite. There is a ring while a network that needs
// it is in use here, so nodes that share no encrypted network share no keys. Before
// each plan is published, the rings are tended: they learn the epoch and what peers
// announced, and forget who is gone; then the sockets are given all that can be
// opened; then the plan; and last the others are told. So a packet can be opened
// before anybody may seal it.
//
// On a static overlay nobody counts epochs and nothing is gossiped: the clock counts,
// and nodes send each other their announcements (announce.go).

// A ringKey tells rings apart.
type ringKey struct {
	algorithm ipsec.Algorithm
	esn       bool
	six       bool
	secret    string // the file of a static overlay's secret; "": the swarm's certificates
}

// A ring is a keyring and how it knows its peers.
type ring struct {
	*keyring.Ring
	psk *ipsec.PSK // of static overlays
	// toTell are a static overlay's other nodes, and when they are told again.
	toTell map[netip.AddrPort]*telling
}

// A sealing is what a tunnel of an encrypted network is sealed by. The zero sealing is that
// of a tunnel in clear.
type sealing struct {
	at   netip.AddrPort // where the peer receives ESP
	keys *ipsec.Peer
	esp  ipsec.Algorithm
	in   ipsec.Encapsulation
}

// ringKeyOf is the ring that a network's tunnels to a family need.
func ringKeyOf(o *cnm.OverlayOptions, six bool) ringKey {
	return ringKey{algorithm: o.Cipher, esn: o.ESN, six: six, secret: o.PSKFile}
}

// tendKeys sees to the rings that the networks in use need. What cannot be is logged
// once, and tried again: a network without keys carries nothing.
func (n *Node) tendKeys() {
	n.mu.Lock()
	now := n.now()
	n.retryKeys = time.Time{}
	used := make(map[ringKey]map[string]bool) // by ring: the peers
	for _, nw := range n.networks {
		if nw.Driver != cnm.DriverOverlay || nw.ConfigOnly || !nw.overlay.Encrypted {
			continue
		}
		if nw.Scope == cnm.ScopeSwarm {
			n.tendSwarmLocked(nw, used, now)
		} else {
			n.tendStaticLocked(nw, used, now)
		}
	}
	settled := n.member == nil || n.member.Settled()
	for key, r := range n.rings {
		switch peers, ok := used[key]; {
		case !settled && key.secret == "":
			// The others are not known again yet: what was known last stands.
		case !ok:
			delete(n.rings, key)
		default:
			r.Keep(func(node string) bool { return peers[node] })
			for at := range r.toTell {
				if !peers[at.String()] {
					delete(r.toTell, at)
				}
			}
		}
	}
	n.sweepKeyFaultsLocked()
	n.mu.Unlock()
	n.path.setSAs(n.inboundSAs)
	select {
	case n.keyNews <- struct{}{}:
	default: // it has yet to look
	}
}

// inboundSAs lists all that the peers of all rings may send by.
func (n *Node) inboundSAs() (sas []*ipsec.Inbound) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.rings {
		sas = r.Inbound(sas)
	}
	return sas
}

// tendSwarmLocked tends the rings of a network of the swarm, if it is in use here.
func (n *Node) tendSwarmLocked(nw *network, used map[ringKey]map[string]bool, now time.Time) {
	if n.member == nil || len(n.endpointsLocked(nw.ID)) == 0 {
		return
	}
	epoch := n.member.View().Epoch
	peers := n.member.Neighbours(nw.ID).Nodes
	for _, vtep := range n.dataPath() {
		six := vtep.Addr().Is6()
		key := ringKeyOf(&nw.overlay, six)
		r, err := n.ringLocked(key, epoch, vtep.Addr(), now)
		if err == nil {
			_, err = r.Begin(epoch, now)
		}
		if n.keyFaultLocked(nw.Name, err) {
			n.retryKeys = now.Add(keyEvery)
			continue
		}
		if used[key] == nil {
			used[key] = make(map[string]bool)
		}
		for _, p := range peers {
			used[key][p.ID] = true
			heard := slices.DeleteFunc(slices.Clone(p.Keys), func(a ipsec.Announcement) bool {
				return a.VTEP.Addr().Is6() != six || a.Algorithm != key.algorithm || a.ESN != key.esn
			})
			_, err := r.hear(now, heard...)
			n.keyFaultLocked(nw.Name+" "+p.ID, err)
		}
	}
}

// ringLocked returns a ring, made if there is none, or if the one there is has gone
// more than an epoch ahead: a clock was set back, or a swarm is what it was before.
// Others have no key in common with such a one.
func (n *Node) ringLocked(key ringKey, epoch uint64, own netip.Addr, now time.Time) (*ring, error) {
	if r := n.rings[key]; r != nil && !r.ahead(epoch) {
		return r, nil
	}
	r := &ring{toTell: make(map[netip.AddrPort]*telling)}
	c := keyring.Config{AES: n.aes, Own: ipsec.Announcement{
		VTEP: netip.AddrPortFrom(own, n.cfg.ESPPort), Algorithm: key.algorithm, ESN: key.esn, InIP: n.cfg.ESPInIP, Workers: min(n.cfg.Workers+1, ipsec.MaxWorkers),
	}}
	if key.secret == "" {
		c.Own.Node, c.Sign = n.member.ID(), n.member.Sign
	} else {
		psk, err := readSecret(key.secret)
		if err != nil {
			return nil, err
		}
		r.psk, c.Own.Node, c.Sign = psk, c.Own.VTEP.String(), psk.Sign
	}
	// Each ring has a generation of its own: one of this daemon's before may have had
	// the same epoch.
	var err error
	if c.Own.Generation, err = nextGeneration(n.cfg.DataDir, now); err != nil {
		return nil, err
	}
	r.Ring = keyring.New(c)
	n.rings[key] = r
	return r, nil
}

// ahead reports whether a ring is so far ahead of an epoch that it has no key of it.
func (r *ring) ahead(epoch uint64) bool {
	last, _ := r.Epoch()
	return last > epoch+1
}

// readSecret reads the secret of a static overlay. It must be nobody else's to read.
func readSecret(path string) (*ipsec.PSK, error) {
	// Before it is opened: to open a FIFO is to wait for whoever writes to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file that holds a secret", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s: others than its owner may read it (mode %04o): chmod 600 it, and make a new secret if they might have", path, info.Mode().Perm())
	case info.Size() > maxSecret:
		return nil, fmt.Errorf("%s: %d bytes, a secret has at most %d", path, info.Size(), maxSecret)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	psk, err := ipsec.NewPSK(trimNewline(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return psk, nil
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 4096

// trimNewline leaves out the line's end that editors put behind a secret.
func trimNewline(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// sealLocked is what a tunnel of a network to a peer is sealed by. A peer that has
// announced no key is one that nothing is sent to.
func (n *Node) sealLocked(nw *network, node string, vtep netip.AddrPort) sealing {
	if !nw.overlay.Encrypted {
		return sealing{}
	}
	s := sealing{at: netip.AddrPortFrom(vtep.Addr(), n.cfg.ESPPort), keys: n.noKeys, esp: nw.overlay.Cipher, in: ipsec.InUDP}
	if r := n.rings[ringKeyOf(&nw.overlay, vtep.Addr().Is6())]; r != nil {
		if keys, a := r.Peer(node); keys != nil {
			s.at, s.keys, s.in = a.VTEP, keys, n.espTo(a.InIP)
		}
	}
	return s
}

// espTo is how ESP is sent to a peer that receives it in IP or does not.
func (n *Node) espTo(inIP bool) ipsec.Encapsulation {
	if inIP && n.cfg.ESPInIP {
		return ipsec.InIP
	}
	return ipsec.InUDP
}

// keyWait bounds how long an endpoint's attaching waits for the keys of its network.
const keyWait = 2 * time.Second

// awaitKeys returns when all peers of a sandbox's encrypted networks have shown that
// they can open what this node seals, or keyWait is over.
func (n *Node) awaitKeys(b *box) {
	for end := time.Now().Add(keyWait); time.Now().Before(end) && !n.keysReady(b); {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-n.own.stop:
			return
		}
	}
}

func (n *Node) keysReady(b *box) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range b.sb.Endpoints {
		nw := n.networks[e.NetworkID]
		if nw == nil || nw.Driver != cnm.DriverOverlay || !nw.overlay.Encrypted || nw.Scope != cnm.ScopeSwarm {
			continue
		}
		for _, s := range n.fillingLocked(nw).seals {
			if !s.keys.Proven() {
				return false
			}
		}
	}
	return true
}

// keyEvery is how often the keys are looked after, keySoon while a peer has yet to be
// heard from.
const (
	keyEvery = time.Second
	keySoon  = 50 * time.Millisecond
)

// keepKeys is the goroutine that lets time pass for the keys: it probes peers, tells
// those of static overlays, hears what they tell, and begins epochs by the clock. What
// anybody may send makes no round of its own; what is new in it does, by keyNews.
func (n *Node) keepKeys() {
	sealer, scratch := ipsec.NewSealer(), make([]byte, 256)
	t := time.NewTimer(keyEvery)
	defer t.Stop()
	for {
		select {
		case <-n.own.stop:
			return
		case m := <-n.marked:
			n.hearMarked(m)
			continue
		case <-n.keyNews:
		case <-t.C:
		}
		wait := keyEvery
		if n.turnKeys(sealer, scratch) {
			wait = keySoon
		}
		t.Reset(wait)
	}
}

// turnKeys is one round of keepKeys. It reports whether the next is to come soon.
func (n *Node) turnKeys(sealer *ipsec.Sealer, scratch []byte) (soon bool) {
	now := n.now()
	n.mu.Lock()
	var probes []keyring.Probe
	var letters []letter
	changed, replaced := false, false
	alive := n.cfg.ESPKeepalive > 0 && !now.Before(n.nextKeepalive)
	if alive {
		n.nextKeepalive = now.Add(n.cfg.ESPKeepalive)
	}
	for key, r := range n.rings {
		if alive {
			for _, at := range r.VTEPs() {
				letters = append(letters, letter{at, []byte{0xff}}) // RFC 3948, 2.3
			}
		}
		p, unsettled := r.Probes(now)
		probes, soon = append(probes, p...), soon || unsettled
		changed = r.Tick(now) || changed
		replaced = n.renewLocked(key, r, now) || replaced
		if r.psk != nil {
			n.keyFaultLocked(key.secret, r.beginStatic(now))
			replaced = replaced || r.ahead(staticEpochAt(now))
			l, more := r.tellLocked(now)
			letters, soon = append(letters, l...), soon || more
		}
	}
	replaced = replaced || !n.retryKeys.IsZero() && !now.Before(n.retryKeys)
	n.mu.Unlock()
	switch {
	case replaced:
		n.publish("")
	case changed || len(probes) > 0: // what a probe says this node has, it must have
		n.path.setSAs(n.inboundSAs)
	}
	for _, l := range letters {
		n.path.sendESP(l.to, l.datagram, ipsec.InUDP)
	}
	for _, p := range probes {
		// The payload of a dummy packet means nothing (RFC 4303, 2.6).
		if size, r := sealer.Seal(p.By, scratch, ipsec.NextNone, make([]byte, 16)); r == 0 {
			n.path.sendESP(p.To, scratch[:size], n.espTo(p.InIP)) // as all that they prove can be opened
		}
	}
	return soon
}

// renewLocked gives a ring new keys of the same epoch, if one of those it has was used
// so much that its numbers will end, and reports whether it did.
func (n *Node) renewLocked(key ringKey, r *ring, now time.Time) bool {
	if !r.Worn() {
		return false
	}
	generation, err := nextGeneration(n.cfg.DataDir, now)
	if err == nil {
		err = r.Renew(generation, now)
	}
	for _, t := range r.toTell {
		*t = telling{now, firstTell}
	}
	return !n.keyFaultLocked(renewing(key), err)
}
