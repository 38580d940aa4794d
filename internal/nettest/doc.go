// Package nettest is what tests are made of: in-memory cables, packet builders,
// a frame ledger, a virtual clock, namespaces of a test's own, runs as an
// ordinary user, and leak checks. Only test files import it; where that would be
// a cycle, the test is an external one.
//
// It imports nothing of weft but internal/frame, so every package above can use
// it. A [Port] has the methods of vswitch.Port.
//
// A [Cable] may be used from several goroutines; nothing else here is safe for
// concurrent use unless it says so.
package nettest
