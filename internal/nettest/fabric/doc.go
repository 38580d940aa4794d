// Package fabric is an underlay in memory: it carries datagrams and streams between
// the nodes of one process, as badly as it is told to. Datagrams are lost, doubled,
// delayed and so overtake each other, by a seeded random source; hosts are cut off
// from each other and joined again. In a bubble of testing/synctest its delays cost
// no time.
//
// A [Port] is a transport of memberlist's; [Fabric.Listen] and [Fabric.Dial] are for
// everything else. What was sent is counted.
//
// Everything here is safe for concurrent use. For tests only.
package fabric
