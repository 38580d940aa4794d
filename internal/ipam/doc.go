// Package ipam manages addresses: it chooses subnets from pools and gives out
// the addresses in them, in Docker's order and with Docker's errors. It knows
// nothing of networks or of the host: a caller passes the prefixes to stay clear
// of, such as the host's routes, and keeps what it was given; after a restart it
// requests the same subnets and reserves the same addresses again.
//
// IPv6 subnets that nobody chose are unique local ones (RFC 4193), derived from
// the node's identity.
//
// Not supported: the dhcp driver and remote IPAM plugins; [Allocator.Request] refuses
// them by name.
//
// Everything here is safe for concurrent use.
package ipam
