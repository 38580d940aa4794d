// Package nat tracks connections and translates their packets: endpoints of weft's own
// networks appear to the outside as a few addresses, and published ports lead from there
// to endpoints. It does no I/O, starts nothing and reads no clock.
//
// A [Table] has [Rules]; [Table.Outbound] and [Table.Inbound] rewrite a frame in place, or
// say why it is to be dropped. The files say how it works: flow.go a flow and how it is
// read without a lock, index.go how it is found, mapping.go the outside ports, source.go
// whose it is, evict.go who gives way, wheel.go how it ends, tcp.go, icmp.go and
// fragment.go their protocols.
//
// Behaviour: UDP, RFC 4787; TCP, RFC 5382; ICMP, RFC 5508; all three as updated by RFC
// 7857; NAT66 the same way. Mapping is endpoint-independent, ports are preserved where
// they can be, an endpoint has always the same outside address while that has ports.
// Filtering is address- and port-dependent: in comes what a flow expects and what is
// published, which is stricter than RFC 4787, REQ-8 recommends. Packets refresh their flow
// in both directions. Endpoints reach each other by outside addresses too (hairpin).
// Checksums are changed incrementally (RFC 1624), partial ones and those of superframes
// too. The table is bounded and takes from who has most (RFC 6888, REQ-8 C has a carrier
// refuse instead).
//
// Not supported: application gateways (RFC 4787, REQ-10 would have them off anyway);
// protocols other than TCP, UDP and echo, so no SCTP, GRE or ESP; ICMP queries other than
// echo; fragments that come before their datagram's first one (RFC 4787, REQ-14): nothing
// is held; port overloading, parity and contiguity; prefix translation (RFC 6296);
// source routes and routing headers; the six seconds of RFC 5382, REQ-4.
//
// Concurrency: a Table may be used from anywhere, Tick from one goroutine. Packets of
// established flows take no lock.
package nat
