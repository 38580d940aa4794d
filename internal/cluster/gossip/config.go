package gossip

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile chooses memberlist's timings.
type Profile uint8

// The profiles are memberlist's own.
const (
	LAN Profile = iota // one site: a death is known within about ten seconds
	WAN                // far sites: some ten times as patient
)

// Timings are how often a node speaks, and how long it waits; a zero one takes its
// default.
type Timings struct {
	// memberlist's; the profile's defaults.
	Probe        time.Duration // between two probes of another node's life
	ProbeTimeout time.Duration // for an answer; below Probe
	// This package's own.
	Tick   time.Duration // between rounds of gossip: 200 ms
	Sync   time.Duration // between comparisons of tables, per network: 10 s
	Rejoin time.Duration // between looks for nodes that are not members: 10 s
	Reap   time.Duration // a tombstone's life: 30 min
	Drop   time.Duration // from a death to the loss of its rows: 25 min; below Reap
	Forget time.Duration // from a death to the loss of the member: 24 h
}

// Config is what a node needs to gossip.
type Config struct {
	// NodeID names the node for life: it owns the node's rows, across restarts.
	// At most MaxID bytes.
	NodeID string
	// Name is for people: what Members shows.
	Name string
	// Bind is where UDP and TCP are listened on; port 0 takes a free one.
	Bind netip.AddrPort
	// Advertise is what others are told to send to; zero: Bind.
	Advertise netip.AddrPort
	// Keys is the ring: messages are sealed with the first and opened with any.
	// 16, 24 or 32 bytes each, at least one.
	Keys [][]byte
	// Meta comes with the member on every node. With Name at most 511 bytes.
	Meta []byte
	// FirstVersion is where the versions of the node's rows begin: above all that
	// an earlier run gave. Zero: the time in nanoseconds since 1970.
	FirstVersion uint64
	// Bootstrap returns the addresses that ought to be members; nil: none.
	Bootstrap func() []netip.AddrPort
	Profile   Profile
	Timings   Timings
	// Transport moves the bytes; nil: sockets at Bind.
	Transport memberlist.Transport
	// Log takes what goes wrong; nil: nothing is logged.
	Log *slog.Logger
	// Changed is called after what Rows or Peers return for a network changed. It
	// may be called once for several changes.
	Changed func(network string)
	// MembersChanged is called after what Members returns changed.
	MembersChanged func()
}

const (
	// maxPacket is the largest message sent in one datagram, in bytes: with
	// memberlist's headers and seal it stays within 1,400.
	maxPacket = 1300
	// maxStream is the size at which answers are cut into several messages.
	maxStream = 256 << 10
	// fanout is the number of nodes a round of gossip goes to.
	fanout = 3
	// retransmit multiplies the logarithm of the number of peers, as memberlist's.
	retransmit = 4
	// roundBytes bounds what a round sends to one node for one network.
	roundBytes = 32 * maxPacket
	// maxQueue is the number of rows of a network that wait to be gossiped; what
	// is over it is found by digest.
	maxQueue = 4096
	// maxWorkers is the number of streams that are written at a time.
	maxWorkers = 32
	// settle is how long the first sending of a row waits for others.
	settle = 5 * time.Millisecond
	// late is how late a datagram may come and find its row's tombstone on a node
	// that attached after the deletion.
	late = time.Minute
	// askAgain is how long Attach waits before it asks others, maxAsks how often it
	// asks.
	askAgain = 2 * time.Second
	maxAsks  = 3
)

func (t Timings) withDefaults() Timings {
	return Timings{
		Probe: t.Probe, ProbeTimeout: t.ProbeTimeout,
		Tick:   cmp.Or(t.Tick, 200*time.Millisecond),
		Sync:   cmp.Or(t.Sync, 10*time.Second),
		Rejoin: cmp.Or(t.Rejoin, 10*time.Second),
		Reap:   cmp.Or(t.Reap, 30*time.Minute),
		Drop:   cmp.Or(t.Drop, 25*time.Minute),
		Forget: cmp.Or(t.Forget, 24*time.Hour),
	}
}

// check completes a configuration and refuses one that cannot work.
func (c *Config) check() error {
	if err := checkID("node", c.NodeID); err != nil {
		return err
	}
	if n := 1 + len(c.Name) + len(c.Meta); len(c.Name) > 255 || n > memberlist.MetaMaxSize {
		return fmt.Errorf("name of %d and meta of %d bytes, at most 255 and together %d: %w", len(c.Name), len(c.Meta), memberlist.MetaMaxSize-1, ErrTooBig)
	}
	if err := checkKeys(c.Keys); err != nil {
		return err
	}
	if c.Transport == nil && !c.Bind.IsValid() {
		return errors.New("expected an address to bind to, found none")
	}
	if c.Timings.Probe < 0 || c.Timings.ProbeTimeout < 0 {
		return fmt.Errorf("probes every %v with a timeout of %v, expected more than 0", c.Timings.Probe, c.Timings.ProbeTimeout)
	}
	c.Timings = c.Timings.withDefaults()
	for _, d := range []time.Duration{c.Timings.Tick, c.Timings.Sync, c.Timings.Rejoin, c.Timings.Drop, c.Timings.Forget} {
		if d <= 0 {
			return fmt.Errorf("timing %v, expected more than 0", d)
		}
	}
	if c.Timings.Drop >= c.Timings.Reap {
		return fmt.Errorf("rows of the dead dropped after %v, tombstones reaped after %v: expected the first to be shorter, or deleted rows could come back", c.Timings.Drop, c.Timings.Reap)
	}
	if c.FirstVersion == 0 {
		c.FirstVersion = uint64(time.Now().UnixNano())
	}
	if c.FirstVersion >= maxVersion {
		return fmt.Errorf("first version %d, expected less than %d", c.FirstVersion, uint64(maxVersion))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// memberlist returns memberlist's configuration, transport and delegates missing.
func (c *Config) memberlist(ring *memberlist.Keyring, refused func()) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	if c.Profile == WAN {
		m = memberlist.DefaultWANConfig()
	}
	if c.Timings.Probe != 0 {
		m.ProbeInterval = c.Timings.Probe
		m.ProbeTimeout = min(m.ProbeTimeout, m.ProbeInterval/2)
	}
	m.ProbeTimeout = cmp.Or(c.Timings.ProbeTimeout, m.ProbeTimeout)
	m.Name = c.NodeID
	m.Keyring = ring
	m.EnableCompression = false // sealed rows are short; it costs more than it saves
	m.RequireNodeNames = false
	m.DeadNodeReclaimTime = time.Millisecond // a dead node may return with another address
	m.Logger = newLogger(c.Log, refused)
	return m
}
