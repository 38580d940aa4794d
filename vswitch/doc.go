// Package vswitch is the switch: ports, bridge domains, the forwarding database
// (FDB), the path a frame takes between them, flooding, the guard against
// spoofing, per-port statistics, and an explanation of any frame's way.
//
// The path of a frame that came from a local port, one function a step, read
// from top to bottom in outbound.go:
//
//	read → view → guard → learn → answer → snoop → forward → clamp → merge → segment → write
//
// and of one that came through an underlay, decapsulated by a [Source], in
// inbound.go:
//
//	view → guard → learn → snoop → forward → merge → segment → write
//
// A [Worker] runs them to completion for one batch: it reads a port or a source,
// takes every frame through the steps, writes to the egress ports, and only then
// reads again. Whoever owns the goroutines (internal/node, a replay, a test) calls
// [Worker.Turn] and [Worker.Inbound]; this package starts none.
//
// A way through an underlay is a port like any other: one with a Horizon, which
// is written to and learned on, but never read by itself.
//
// Implemented: MAC learning and ageing as in IEEE 802.1Q-2022 8.7 and 8.8 with
// independent VLAN learning, the reserved group addresses of 8.6.3, ARP and
// neighbour discovery answered from a table (package arp), RFC 6105-like router
// advertisement guard, IGMP and MLD snooping with a querier (RFC 4541), towards
// tunnels the clamping of TCP segment sizes and path MTU messages (RFC 1191, RFC
// 4443, 3.2).
//
// Not supported: spanning tree, link aggregation, VLAN translation; snooping on
// VLANs, or by source (RFC 4604), or of PIM.
//
// Concurrency: [Switch] and [Domain] methods may be called from any goroutine.
// A [Worker] belongs to one goroutine at a time. Forwarding takes no lock: the
// port table is an immutable snapshot, the FDB's slots are atomic, counters are
// per worker.
package vswitch
