// Package cnm is Docker's Container Network Model as plain values: networks,
// endpoints, sandboxes, and the validation of every option a user can give.
// Nothing here touches the system.
//
// All values may be shared between goroutines as long as nobody writes them;
// functions return copies.
package cnm
