// Package cnm is Docker's Container Network Model as plain values: networks,
// endpoints, sandboxes, and the validation of every option a user can give, with
// Docker's own error texts where it has one. It also builds what follows from
// these values alone: identifiers, MAC addresses, interface names, hosts and
// resolv.conf files, the choice of the default route. Nothing here touches the
// system.
//
// Only the drivers bridge, none and host are known; the others are refused by
// name with [Unsupported].
//
// All values may be shared between goroutines as long as nobody writes them;
// functions return copies.
package cnm
