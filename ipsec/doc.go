// Package ipsec protects what a node sends to another: it seals byte ranges as
// ESP packets and opens them (RFC 4303), knows which sequence numbers have come
// already, and derives the keys of both directions of a pair of nodes without a
// handshake. It does no I/O and starts nothing.
//
// Algorithms: AES-GCM with keys of 256 and 128 bits and an ICV of 16 bytes (RFC
// 4106), ChaCha20-Poly1305 (RFC 7634). Sequence numbers have 64 bits (ESN, RFC
// 4303, 2.2.1) or 32. Transport mode: what is sealed is the UDP datagram that
// holds a VXLAN header and a frame, next header 17. ESP in UDP (RFC 3948) is the
// caller's eight bytes in front; [Classify] tells what else comes by that port.
//
// A node has a [Sealer] and an [Opener] for each worker, an [EpochKey] for each
// epoch, a [Peer] for each other node, and one [Table] of all it can open. The
// files say how they work: epoch.go the keys, peer.go the lives of the security
// associations (SAs), outbound.go and inbound.go a packet's way, window.go the
// replay window.
//
// Not supported: IKE; tunnel mode's inner IP header, which would be payload like
// any other; ESP without encryption or with separate authentication; ICVs of 8
// and 12 bytes; multicast SAs; resynchronising after 2^32 lost packets (RFC 4303,
// appendix A3), which takes a new epoch; Go's mode fips140=only, which refuses
// GCM with given nonces. Nothing here notices that a machine is resumed from a snapshot
// of its running memory: resumed twice, it uses keys and numbers twice.
//
// Concurrency: a Sealer and an Opener belong to one worker each, and so does an
// [Outbound] where there are no more than [MaxWorkers] of them; more may share. An
// [Inbound] may be used by all workers at the same time, a Table is immutable.
// EpochKey and Peer may be used from anywhere.
package ipsec
