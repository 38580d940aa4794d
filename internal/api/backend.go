package api

import (
	"context"
	"io"
	"time"

	"weft/internal/cnm"
	"weft/internal/discovery"
	"weft/internal/node"
	"weft/ipsec"
)

// A Backend does what the API is asked for. [node.Node] is the one of the
// product. References (ref) are an ID, a prefix of one, or a name. Errors of a
// [cnm.Kind] become the status that belongs to it, others are 500.
type Backend interface {
	Info() node.Info
	// Events yields what happens from now on, preceded by what is still known
	// since a time that is not zero. The channel is closed at until (if not
	// zero), when ctx ends and when the backend does. A reader that is too slow
	// loses events and is told by one of type "daemon", action "events-lost".
	Events(ctx context.Context, since, until time.Time) <-chan cnm.Event

	networks
	sandboxes
	execs
	inside
}

// A SwarmBackend is a [Backend] that can be a node of a swarm. Of one that
// cannot, the API says what Docker says of a node outside of every swarm.
type SwarmBackend interface {
	// SwarmInfo is for /info and for every ping: it asks nobody else.
	SwarmInfo() cnm.SwarmInfo
	SwarmInit(ctx context.Context, i cnm.SwarmInit) (nodeID string, err error)
	SwarmJoin(ctx context.Context, j cnm.SwarmJoin) error
	SwarmLeave(ctx context.Context, force bool) error
	// Swarm and what follows, but SwarmUnlock and SwarmRestore, are for managers: elsewhere they
	// are [cnm.Unavailable] with Docker's reason.
	Swarm(ctx context.Context) (cnm.Swarm, error)
	// SwarmUpdate needs the version that the change was made from.
	SwarmUpdate(ctx context.Context, version uint64, spec cnm.SwarmSpec, rotate cnm.SwarmRotate) error
	// SwarmUnlockKey returns no key when the swarm has no lock.
	SwarmUnlockKey(ctx context.Context) (string, error)
	SwarmUnlock(ctx context.Context, key string) error
	// SwarmBackup writes what a manager knows of the swarm; when it refuses it has
	// written nothing. SwarmRestore reads that, on a node in no swarm, which then is
	// the swarm's only manager.
	SwarmBackup(ctx context.Context, w io.Writer) error
	SwarmRestore(ctx context.Context, backup io.Reader) (nodeID string, err error)
	// SwarmNodes are sorted by name.
	SwarmNodes(ctx context.Context) ([]cnm.SwarmNode, error)
	// SwarmNode finds a node by its ID, a prefix of that, its name, or "self".
	SwarmNode(ctx context.Context, ref string) (cnm.SwarmNode, error)
	SwarmNodeUpdate(ctx context.Context, id string, version uint64, spec cnm.NodeSpec) error
	SwarmNodeRemove(ctx context.Context, ref string, force bool) error
}

// networks is the part of a Backend behind /networks.
type networks interface {
	NetworkCreate(ctx context.Context, n cnm.Network) (id, warning string, err error)
	Networks() []node.NetworkView
	Network(ref string) (node.NetworkView, error)
	NetworkRemove(ctx context.Context, ref string) error
	NetworkConnect(ctx context.Context, network, sandbox string, c cnm.EndpointConfig) error
	NetworkDisconnect(ctx context.Context, network, sandbox string, force bool) error
	// NetworkPrune removes the unused networks that keep does not hold back
	// and returns their names.
	NetworkPrune(ctx context.Context, keep func(cnm.Network) bool) ([]string, error)
}

// sandboxes is the part of a Backend behind /containers.
type sandboxes interface {
	Sandboxes() []cnm.Sandbox
	Sandbox(ref string) (cnm.Sandbox, error)
	SandboxCreate(ctx context.Context, s cnm.SandboxSpec) (id string, warnings []string, err error)
	SandboxStart(ctx context.Context, ref string) error
	SandboxStop(ctx context.Context, ref, signal string, timeout *time.Duration) error
	SandboxKill(ctx context.Context, ref, signal string) error
	SandboxRemove(ctx context.Context, ref string, force bool) error
	SandboxRename(ctx context.Context, ref, name string) error
	SandboxResize(ctx context.Context, ref string, rows, cols uint16) error
	SandboxWait(ctx context.Context, ref string, removed bool) (int, error)
	SandboxAttach(ctx context.Context, ref string, o node.AttachOptions) (node.Stream, error)
	SandboxLogs(ctx context.Context, ref string, o node.LogOptions) (node.LogReader, error)
	AttachForeign(ctx context.Context, s cnm.SandboxSpec) (string, error)
	Detach(ctx context.Context, ref string) error
}

// execs is the part of a Backend behind /exec.
type execs interface {
	ExecCreate(ctx context.Context, ref string, e node.ExecSpec) (string, error)
	ExecStart(ctx context.Context, id string) (node.Stream, error)
	ExecResize(ctx context.Context, id string, rows, cols uint16) error
	ExecInspect(id string) (node.ExecInfo, error)
}

// inside is the part of a Backend behind /weft/v1.
type inside interface {
	FDB(network string) ([]node.FDBEntry, error)
	Neighbours(network string) ([]node.Neighbour, error)
	Stats() []node.PortStats
	// Peers returns the counters of overlays towards their remote VTEPs, and the
	// sockets that carry them.
	Peers() ([]node.PeerStats, []node.Underlay)
	// Keys returns what the node has keys for, by network.
	Keys() []node.KeyRing
	// ExportKeys returns what opens all that is sealed now, of the peers of one
	// network or of all. The server gives it to the node's owner alone.
	ExportKeys(network string) ([]ipsec.ExportedSA, error)
	// Flows returns what goes by the ways out of a network, or of all; FlushFlows ends
	// those of a network and a sandbox, or of all.
	Flows(network string) ([]node.Flow, error)
	FlushFlows(network, sandbox string) (int, error)
	UplinkStats() []node.UplinkStats
	// DNSRecords lists the records of a network, or all; DNSAdd and DNSRemove write down
	// some. DNSQuery asks as a sandbox does, with an empty ref on all networks.
	DNSRecords(network string) ([]discovery.Record, error)
	DNSAdd(ctx context.Context, s discovery.Static) (warnings []string, err error)
	DNSRemove(ctx context.Context, network, name, kind string) error
	DNSQuery(ctx context.Context, from, name, kind string) (discovery.Reply, error)
	DNSStats() (counts map[string]uint64, conflicts []string)
	Trace(ctx context.Context, o node.TraceOptions) ([]node.TraceStep, error)
	// Capture returns a pcapng stream that ends when it is closed.
	Capture(ctx context.Context, o node.CaptureOptions) (io.ReadCloser, error)
	Doctor() []node.Check
}
