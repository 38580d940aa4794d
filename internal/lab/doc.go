// Package lab reads a whole lab from one YAML file (networks, nodes, sandboxes,
// services, bare ports, links) and replays captures through it: one switch per
// node, in memory, under a virtual clock that the captures' timestamps drive.
//
// The file is untrusted and strict: an unknown key is an error with its line
// and the keys there are; so is everything else that cannot be meant. Lists may
// be written as one value. Every listing in a [Lab] is ordered by name, so that
// nothing depends on the order of the file.
//
// A replay gives byte-identical captures and the same statistics for the same
// file, inputs and seed, on every machine, and needs no privilege. Every input
// frame ends as exactly one of forwarded, consumed, kept, dropped(reason), and
// [Replay] fails if they do not add up.
//
// Nodes that have an address have a VTEP (RFC 7348), and may have a wire: a port
// whose captures hold what crosses the underlay there. Nodes that have an address
// outside translate what leaves their networks (RFC 4787, 5382, 5508).
//
// Not supported in a replay, refused by name: overlays with several subnets and
// VNIs, with encryption or without a list of peers; macvlan and ipvlan networks;
// links (impairments); several wires of one node; a trace that begins at a wire; a way
// out for overlays. The
// underlay itself is not modelled: it has no delay, no routers and no ARP, and a
// fragmented datagram is dropped rather than reassembled.
//
// Nothing in this package is safe for concurrent use.
package lab
