// Package gossip spreads what changes fast and needs no agreement: who is in the
// cluster, which node has which network, and the rows that each node writes about
// itself on a network, such as where an endpoint lives. It stands on memberlist
// (the SWIM protocol with the Lifeguard extensions), whose messages are sealed
// with AES-GCM.
//
// A row belongs to its owner, who alone writes it, and carries a version that the
// owner counts up, across restarts too. Rows of a network travel only among the
// nodes that have it. They go out at once to a few nodes, who pass them on; what
// gets lost is found by comparing digests. What a dead node wrote is hidden, and
// comes back with the node; what a node wrote before it left the network, or the
// cluster, is void.
//
// Not supported: proof of who wrote a row. Whoever holds a key of the ring can
// write in anyone's name; the owner contradicts what it hears, no more. memberlist
// does not tell suspicion, so a suspected member counts as alive until it is
// declared dead.
//
// Everything here is safe for concurrent use. Callbacks come from one goroutine,
// never with a lock held.
package gossip
