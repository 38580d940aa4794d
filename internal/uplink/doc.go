// Package uplink is how frames leave the machine and how the world comes in.
//
// The host uplink, [Host], needs no right at all: it is the queue behind the exit of a
// bridge domain. TCP goes through a userspace TCP/IP stack (gVisor's netstack) and
// becomes ordinary sockets of this process; UDP and ICMP echo become ordinary datagram
// and ping sockets without any stack between. What comes to a published port is carried
// in the other way, with the client's own address and port as source.
//
// The packet uplink, [Packet], is an AF_PACKET socket on an interface of the node, with
// superframes and undone checksums both ways (PACKET_VNET_HDR): the queue of a router's
// port outside. What goes through it has been translated by package nat; the ways there
// are known from the kernel ([Routes]). It takes CAP_NET_RAW over the network namespace of
// its interface, which is root's, or an ordinary user's in a namespace of its own.
//
// RFCs: 791, 792, 8200, 4443 (IP and ICMP, errors and what they quote), 9293 (TCP,
// half-close, reset), 4787 and 5508 (behaviour of a NAT towards UDP and ICMP: the
// mapping is endpoint-independent, the filter address- and port-dependent), 1812
// (limits on ICMP errors), 3927 2.7 and 4291 2.5.6 (link-local is never forwarded).
//
// Not supported by the host uplink: protocols other than TCP, UDP and ICMP echo; TCP in
// IP fragments; IPv4 options, IPv6 extension headers, DSCP and ECN are not carried on;
// ICMP errors that an endpoint sends about datagrams of a published port, for an
// unprivileged process cannot send them; TCP_NODELAY is always set, so that segments go
// on when they come. By the packet uplink: rings shared with the kernel (PACKET_MMAP),
// several sockets for one interface (PACKET_FANOUT), VLAN tags: an interface for the
// VLAN is to be named.
//
// All methods are safe for concurrent use, but for ReadBatch, which one worker calls at
// a time, and Close, when nobody is in ReadBatch or WriteBatch of a [Packet].
package uplink
