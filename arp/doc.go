// Package arp knows who has which address on a network, and answers for them.
//
// It holds codecs for ARP (RFC 826, RFC 5227) and for the part of IPv6 neighbour
// discovery that does the same work (RFC 4861: Neighbor Solicitation and
// Advertisement; RFC 4862, 5.4: duplicate address detection), a neighbour
// [Table], the rule when a request is answered in a neighbour's stead
// ([Table.Answer]), and the reading of the address a frame claims for its sender
// ([Sender]), on which anti-spoofing and learning stand.
//
// Not supported: router discovery and redirects (only their sender's claim is
// read), RARP, InARP, SEND (RFC 3971), ARP for other protocols than IPv4. No I/O.
//
// A Table is safe for concurrent use: reading takes no lock. The codecs work on
// one frame, which belongs to the caller.
package arp
