// Package interop holds the tests of the overlay against other VTEPs: the Linux
// kernel's VXLAN device, Open vSwitch's userspace datapath, and other nodes of
// weft, over veth pairs in network namespaces; and of what such a network does to
// it. All of it runs as an ordinary user in a user namespace. It has no code but
// its tests, which may run one at a time.
package interop
