package gossip

import (
	"errors"
	"fmt"
)

// The bounds of a row and of what a node keeps.
const (
	// MaxValue is the longest value of a row, in bytes.
	MaxValue = 16 << 10
	// MaxKey is the longest key of a row, in bytes.
	MaxKey = 256
	// MaxID is the longest id of a node or a network, in bytes.
	MaxID = 128
	// MaxRows is the largest number of rows of one network, tombstones counted.
	MaxRows = 1 << 16
	// MaxNetworks is the largest number of networks a node attaches to.
	MaxNetworks = 4096
	// maxVersion bounds what others say, so that an owner's counter cannot be
	// driven over its edge.
	maxVersion = 1 << 62
)

// Errors of the calls on a [Gossip].
var (
	// ErrNotAttached is returned for rows of a network the node does not have.
	ErrNotAttached = errors.New("this node is not attached to the network")
	// ErrTooBig is returned for ids, keys and values over their bounds.
	ErrTooBig = errors.New("over the bound")
	// ErrFull is returned when a table or the list of networks is full.
	ErrFull = errors.New("full")
	// ErrNotSynced is returned by Attach when nobody answered in time; the node
	// is attached, and its table fills by and by.
	ErrNotSynced = errors.New("no node of the network answered")
)

// A Row is one thing a node says about itself on a network.
type Row struct {
	Network string
	Owner   string // id of the node that wrote it
	Key     string // unique among the owner's rows of the network
	Version uint64 // later writes of an owner have higher ones, over all its rows
	Value   []byte // opaque here; nil when deleted
	Deleted bool   // a tombstone; never among what Rows returns
}

// checkID refuses an id that is empty or too long; what says of what it is.
func checkID(what, id string) error {
	if id == "" {
		return fmt.Errorf("%s: expected an id, found none", what)
	}
	if len(id) > MaxID {
		return fmt.Errorf("%s of %d bytes, at most %d: %w", what, len(id), MaxID, ErrTooBig)
	}
	return nil
}

// checkRow refuses a key or a value that no message could carry.
func checkRow(key string, value []byte) error {
	if key == "" {
		return errors.New("row: expected a key, found none")
	}
	if len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes, at most %d: %w", len(key), MaxKey, ErrTooBig)
	}
	if len(value) > MaxValue {
		return fmt.Errorf("value of %d bytes, at most %d: %w", len(value), MaxValue, ErrTooBig)
	}
	return nil
}
