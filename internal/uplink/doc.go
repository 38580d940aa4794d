// Package uplink is how frames of endpoints leave the machine and come back.
//
// A [Packet] is a packet uplink: an AF_PACKET socket on an interface of the node,
// with superframes and undone checksums both ways (PACKET_VNET_HDR), read and
// written in batches as a port of the switch. Translating what goes through it is
// package nat's work; finding out the way on the outside is the switch's, by the
// routes that [Routes] reads from the kernel.
//
// A packet uplink takes CAP_NET_RAW over the network namespace of its interface,
// which is root's, or an ordinary user's in a namespace of its own.
//
// Not supported: rings shared with the kernel (PACKET_MMAP), several sockets for one
// interface (PACKET_FANOUT), VLAN tags: an interface for the VLAN is to be named.
//
// Concurrency: ReadBatch of a [Packet] belongs to one goroutine at a time, WriteBatch
// and all else may be called from any; Close when nobody is in them.
package uplink
