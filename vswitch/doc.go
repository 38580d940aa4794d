// Package vswitch is the switch: ports, bridge domains, the forwarding database
// (FDB), the path a frame takes between them, flooding, the guard against
// spoofing, per-port statistics, and an explanation of any frame's way.
//
// The path of a frame that came from a local port, one function a step, read
// from top to bottom in outbound.go:
//
//	read → view → guard → learn → answer → snoop → forward → merge → segment → write
//
// A [Worker] runs it to completion for one batch: it reads a port, takes every
// frame through the steps, writes to the egress ports, and only then reads
// again. Whoever owns the goroutines (internal/node, a replay, a test) calls
// [Worker.Turn]; this package starts none.
//
// Implemented: MAC learning and ageing as in IEEE 802.1Q-2022 8.7 and 8.8 with
// independent VLAN learning, the reserved group addresses of 8.6.3, ARP and
// neighbour discovery answered from a table (package arp), RFC 6105-like router
// advertisement guard, IGMP and MLD snooping with a querier (RFC 4541).
//
// Not supported: spanning tree, link aggregation, VLAN translation; snooping on
// VLANs, or by source (RFC 4604), or of PIM.
//
// Concurrency: [Switch] and [Domain] methods may be called from any goroutine.
// A [Worker] belongs to one goroutine at a time. Forwarding takes no lock: the
// port table is an immutable snapshot, the FDB's slots are atomic, counters are
// per worker.
package vswitch
