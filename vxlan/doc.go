// Package vxlan carries Ethernet frames to remote VTEPs in UDP datagrams, as RFC
// 7348 defines it, and takes them out of the datagrams that come back, in
// batches and with every offload the kernel grants.
//
// A [Socket] stands for one underlay address. Its [Socket.ReadBatch] hands out
// the frames that came from the peers in its [Table], each with the switch port
// it belongs to; everything else is dropped under a [frame.Reason] before
// anybody learns from it. A [Link] is the way to one network of one peer; its
// queues are written to like those of any other port.
//
// Sending walks down a ladder as far as the kernel makes it: one UDP_SEGMENT
// message per run of frames, many messages per sendmmsg(2), one sendto(2) per
// frame. Receiving likewise: UDP_GRO, recvmmsg(2), recvfrom(2).
//
// The outer UDP checksum is always sent: a zero one, which RFC 7348 prefers,
// switches the kernel's segmentation and merging off. A zero one is accepted, over
// IPv6 as well (RFC 6935). Outer datagrams are
// never fragmented. The source port is taken from the dynamic range by the inner
// flow (RFC 7348, 5), out of a few.
//
// A socket for ESP ([Config].ESP) seals what it sends and opens what it receives (package
// ipsec): in UDP, or in IP itself by a raw socket ([Config].Raw), which has neither GSO
// nor GRO and takes CAP_NET_RAW.
//
// Not supported: the extensions that use reserved bits (group policy, GPE);
// reserved bits are ignored on receipt, as RFC 7348 demands and unlike Linux,
// which drops what sets them. Multicast underlays; copying the inner ECN field to
// the outer header (RFC 6040), which is always not-ECT. Other systems than
// Linux, where [Listen] says so.
//
// Concurrency: one goroutine at a time may call ReadBatch, and one the queues of
// one number, of all links together; different numbers may be used at the same
// time. [Socket.SetTable], [Socket.Stats] and [Socket.PathMTU] may be called from
// anywhere. [Socket.Close] may run while nobody reads or writes, which the
// socket's owner sees to.
package vxlan
