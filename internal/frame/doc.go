// Package frame owns bytes: the buffers a worker reads Ethernet frames into,
// the small fixed metadata that travels beside them, header views, checksums
// and the names of every way a frame can end.
//
// Ownership: whoever read a frame owns its bytes until its own loop turn ends;
// everyone else borrows them until they return. A [Batch] belongs to one worker
// for life. A callee that keeps bytes copies them.
//
// Offsets follow IEEE 802.3 (Ethernet II), IEEE 802.1Q (VLAN tags), RFC 791
// (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP), RFC 792 and RFC 4443
// (ICMP) and the virtio 1.2 specification, section 5.1.6 (struct
// virtio_net_hdr).
//
// Not supported: IEEE 802.3 length-field (LLC) frames are carried but not
// looked into; IPv6 jumbograms (RFC 2675).
//
// Nothing in this package is safe for concurrent use unless it says so.
package frame
