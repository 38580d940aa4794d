// Package cluster makes one of many nodes: it joins them, keeps what they have
// agreed on, and tells each what it needs of the others before the first packet.
//
// A [Member] is a node's part in it. What needs agreement (networks, VNIs,
// addresses, nodes, certificates) is kept by the managers in
// internal/cluster/store and asked for over the control port; what changes fast
// (who lives where) is told by internal/cluster/gossip. A member that reaches no
// manager goes on with what it knows: only what is new has to wait.
//
// The control port speaks TLS 1.3 alone. Nothing that is not authenticated
// reaches the store, the tables or the gossip.
//
// A Member is safe for concurrent use.
package cluster
