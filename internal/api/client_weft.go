package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// WeftInfo describes the daemon.
func (c *Client) WeftInfo(ctx context.Context) (Info, error) {
	var i Info
	err := c.call(ctx, http.MethodGet, "info", nil, nil, &i)
	return i, err
}

// FDB returns the forwarding table of a network, of all when it is empty.
func (c *Client) FDB(ctx context.Context, network string) ([]FDBEntry, error) {
	var l []FDBEntry
	err := c.call(ctx, http.MethodGet, "fdb", onNetwork(network), nil, &l)
	return l, err
}

// ARP returns the neighbours of a network, of all when it is empty.
func (c *Client) ARP(ctx context.Context, network string) ([]Neighbour, error) {
	var l []Neighbour
	err := c.call(ctx, http.MethodGet, "arp", onNetwork(network), nil, &l)
	return l, err
}

func onNetwork(network string) url.Values {
	if network == "" {
		return nil
	}
	return url.Values{"network": {network}}
}

// Stats returns the counters of every port.
func (c *Client) Stats(ctx context.Context) ([]PortStats, error) {
	var l []PortStats
	err := c.call(ctx, http.MethodGet, "stats", nil, nil, &l)
	return l, err
}

// Peers returns the counters of a network's remote VTEPs, of all networks' when it
// is empty, and those of the sockets underneath.
func (c *Client) Peers(ctx context.Context, network string) (Peers, error) {
	var p Peers
	err := c.call(ctx, http.MethodGet, "peers", onNetwork(network), nil, &p)
	return p, err
}

// Keys returns what the node has keys for: networks, epochs, peers.
func (c *Client) Keys(ctx context.Context) ([]KeyRing, error) {
	var l []KeyRing
	err := c.call(ctx, http.MethodGet, "keys", nil, nil, &l)
	return l, err
}

// ExportKeys returns what opens all that the node and a network's peers seal for each
// other now; of all networks when it is empty. Only a Unix socket gives it.
func (c *Client) ExportKeys(ctx context.Context, network string) ([]ExportedKey, error) {
	var l []ExportedKey
	err := c.call(ctx, http.MethodPost, "keys/export", nil, ExportKeysRequest{Network: network}, &l)
	return l, err
}

// Flows returns what goes by the ways out of a network, of all when it is empty.
func (c *Client) Flows(ctx context.Context, network string) ([]Flow, error) {
	var l []Flow
	err := c.call(ctx, http.MethodGet, "conntrack", onNetwork(network), nil, &l)
	return l, err
}

// FlushFlows ends the flows of a network and of a sandbox; each may be empty, for all.
// It returns how many that were.
func (c *Client) FlushFlows(ctx context.Context, network, sandbox string) (int, error) {
	var f FlushedFlows
	err := c.call(ctx, http.MethodPost, "conntrack/flush", nil, FlushFlowsRequest{Network: network, Sandbox: sandbox}, &f)
	return f.Flows, err
}

// UplinkStats returns the counters of the ways out, by network.
func (c *Client) UplinkStats(ctx context.Context) ([]UplinkStats, error) {
	var l []UplinkStats
	err := c.call(ctx, http.MethodGet, "conntrack/stats", nil, nil, &l)
	return l, err
}

// Nodes returns what Docker's nodes have no words for, of every node of the swarm.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var l []Node
	err := c.call(ctx, http.MethodGet, "nodes", nil, nil, &l)
	return l, err
}

// RotateKeys gives the swarm's gossip a new key at once, and from then on each
// period; 0 leaves the period as it is.
func (c *Client) RotateKeys(ctx context.Context, period time.Duration) error {
	return c.call(ctx, http.MethodPost, "swarm/rotate-keys", nil, RotateKeysRequest{Period: period}, nil)
}

// BackupSwarm returns a manager's backup of the swarm, with its secrets. One that was
// read to io.EOF is whole.
func (c *Client) BackupSwarm(ctx context.Context) (io.ReadCloser, error) {
	return c.do(ctx, http.MethodGet, "swarm/backup", nil, nil)
}

// RestoreSwarm makes the node the only manager of the swarm that a backup is of, and
// returns the node's ID.
func (c *Client) RestoreSwarm(ctx context.Context, backup io.Reader) (string, error) {
	res, err := c.send(ctx, http.MethodPost, "swarm/restore", nil, octets, backup)
	if err != nil {
		return "", err
	}
	var r RestoreResponse
	err = decodeAndClose(res, "swarm/restore", &r)
	return r.NodeID, err
}

// Doctor returns what the daemon finds its host allows.
func (c *Client) Doctor(ctx context.Context) ([]Check, error) {
	var l []Check
	err := c.call(ctx, http.MethodGet, "doctor", nil, nil, &l)
	return l, err
}

// Trace asks what the switch would do with a frame.
func (c *Client) Trace(ctx context.Context, r TraceRequest) ([]TraceStep, error) {
	var l []TraceStep
	err := c.call(ctx, http.MethodPost, "trace", nil, r, &l)
	return l, err
}

// Capture returns a pcapng stream. Frames are captured from the moment it
// returns; closing the stream or ending ctx ends the capture.
func (c *Client) Capture(ctx context.Context, o CaptureOptions) (io.ReadCloser, error) {
	q := url.Values{}
	for k, v := range map[string]string{"network": o.Network, "port": o.Port, "filter": o.Filter} {
		if v != "" {
			q.Set(k, v)
		}
	}
	for k, v := range map[string]bool{"before": o.Before, "after": o.After} {
		if v {
			q.Set(k, "1")
		}
	}
	if o.Snaplen != 0 {
		q.Set("snaplen", strconv.Itoa(o.Snaplen))
	}
	return c.do(ctx, http.MethodGet, "capture", q, nil)
}

// AttachForeign takes a network namespace that somebody else made, and returns
// the ID of the sandbox that stands for it.
func (c *Client) AttachForeign(ctx context.Context, r AttachRequest) (string, error) {
	var a AttachResponse
	err := c.call(ctx, http.MethodPost, "attach", nil, r, &a)
	return a.ID, err
}

// DetachForeign gives a namespace back: weft's interfaces go, the rest stays.
func (c *Client) DetachForeign(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodPost, "detach/"+url.PathEscape(ref), nil, nil, nil)
}
