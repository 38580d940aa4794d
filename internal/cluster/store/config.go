package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"weft/internal/cnm"
)

// A Config says how a manager's store runs.
type Config struct {
	Dir    string // of the store alone; made when it is not there
	NodeID string
	Addr   string // that other managers dial, host:port
	// Stream carries the connections; Open takes it over.
	Stream StreamLayer
	// Bootstrap makes the first manager of a cluster, if the directory is new. Any
	// other waits until the leader takes it in.
	Bootstrap bool
	UnlockKey string // of a store that is locked
	Log       *slog.Logger
	Tuning    Tuning
	raftLog   *raftLogger
}

// Tuning are raft's timings and bounds; zero values are the defaults.
type Tuning struct {
	// Heartbeat is how long a manager waits for the leader, up to twice that by
	// chance, before it calls an election; Election how long that may take, likewise.
	// 750 ms each: of managers on a LAN, a killed leader is replaced within 3 s.
	Heartbeat, Election time.Duration
	// Lease is how long a leader goes on that hears from no majority; 400 ms.
	Lease time.Duration
	// Commit is the longest time until followers know what is agreed; 50 ms.
	Commit time.Duration
	// RPC is how long another manager may take to answer; 5 s.
	RPC time.Duration
	// SnapshotInterval is how often is looked whether there are SnapshotThreshold new
	// entries, and then a snapshot is made; 1 m, 4096. Trailing entries stay in the
	// log behind it, for followers that are a little late; 4096.
	SnapshotInterval            time.Duration
	SnapshotThreshold, Trailing uint64
}

func (t Tuning) orDefaults() Tuning {
	return Tuning{
		Heartbeat:         cmp.Or(t.Heartbeat, 750*time.Millisecond),
		Election:          cmp.Or(t.Election, 750*time.Millisecond),
		Lease:             cmp.Or(t.Lease, 400*time.Millisecond),
		Commit:            cmp.Or(t.Commit, 50*time.Millisecond),
		RPC:               cmp.Or(t.RPC, 5*time.Second),
		SnapshotInterval:  cmp.Or(t.SnapshotInterval, time.Minute),
		SnapshotThreshold: cmp.Or(t.SnapshotThreshold, 4096),
		Trailing:          cmp.Or(t.Trailing, 4096),
	}
}

// raftConfig is the configuration as raft has it.
func (c *Config) raftConfig() *raft.Config {
	t := c.Tuning.orDefaults()
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.NodeID)
	r.HeartbeatTimeout, r.ElectionTimeout = t.Heartbeat, t.Election
	r.LeaderLeaseTimeout, r.CommitTimeout = t.Lease, t.Commit
	r.SnapshotInterval, r.SnapshotThreshold, r.TrailingLogs = t.SnapshotInterval, t.SnapshotThreshold, t.Trailing
	r.Logger = c.logger()
	r.NoLegacyTelemetry = true
	r.ShutdownOnRemove = false // it may become a manager again
	return r
}

// logger returns raft's logger. All of a store's parts have the one.
func (c *Config) logger() *raftLogger {
	if c.raftLog == nil {
		c.raftLog = newRaftLogger(c.Log)
	}
	return c.raftLog
}

// server is this manager as the only one that raft knows.
func (c *Config) server() raft.Server {
	return raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(c.NodeID), Address: raft.ServerAddress(c.Addr)}
}

// check refuses what cannot work.
func (c *Config) check() error {
	switch {
	case c.Dir == "" || c.NodeID == "" || c.Addr == "":
		return errors.New("cluster store: directory, node and address must be given")
	case c.Log == nil:
		return errors.New("cluster store: a logger must be given")
	}
	if err := raft.ValidateConfig(c.raftConfig()); err != nil {
		return fmt.Errorf("cluster store: %w", err)
	}
	return nil
}

// Sentinels.
var (
	// ErrNotLeader says that another manager has to be asked; errors that wrap it
	// are a [*NotLeader]. Nothing has been done.
	ErrNotLeader = errors.New("this manager is not the leader of the swarm")
	// ErrUncertain says that a command may have been done or not, or may still be
	// done. Commands can be repeated until there is an answer.
	ErrUncertain = errors.New("it is not known whether the managers agreed")
)

// A NotLeader says who leads; both are empty when nobody does.
type NotLeader struct {
	ID   string // of the leader's node
	Addr string // of its manager
}

func (e *NotLeader) Error() string {
	if e.ID == "" {
		return "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."
	}
	return fmt.Sprintf("%v: node %s at %s is", ErrNotLeader, e.ID, e.Addr)
}

// Is finds [ErrNotLeader] and [cnm.Unavailable].
func (e *NotLeader) Is(target error) bool { return target == ErrNotLeader || target == cnm.Unavailable }
