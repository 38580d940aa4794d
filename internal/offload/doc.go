// Package offload does in software what a port cannot: a [Splitter] cuts one
// superframe into the wire frames it stands for and finishes checksums, a
// [Merger] joins wire frames of one flow into one superframe.
//
// Superframes are those of virtio 1.2, 5.1.6: TCP over IPv4 and IPv6 (TSO) and
// UDP of both families (USO), with and without VLAN tags. The rules are the
// kernel's: RFC 9293 sequence numbers, RFC 6864 identification, RFC 3168 CWR.
//
// Both only read the frames they are given: a flooded frame is bound for other
// ports too. What they make lies in their own arena, with [frame.Headroom] in
// front, and is valid until [Splitter.Reset] and the next [Merger.Merge].
//
// Not supported: UFO (never offered), superframes of tunnelled packets, IPv4
// fragments (refused by the one, left alone by the other).
//
// A Splitter and a Merger belong to one worker each.
package offload
