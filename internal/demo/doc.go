// Package demo is the tour of `weft demo`: it builds two networks with hosts on
// them, which reach a server on this machine and are reached from it, then three
// nodes with one network across them, then a swarm of three, and shows and checks
// what weft does, step by step. Each step says what it shows and
// whether it held; the tour succeeds only if all did.
//
// The hosts are real sandboxes, run by a daemon that the tour starts for itself,
// using no program but weft. Where the kernel forbids user namespaces or
// /dev/net/tun the same tour runs over in-process hosts: userspace TCP/IP stacks
// (gVisor netstack) on a switch of this very process. It says which. The three nodes
// are daemons at 127.0.0.1 to .3 or switches of this process; what travels between
// them is in VXLAN datagrams of real UDP sockets either way, which need Linux; so does
// the way out, which is by real sockets either way. The
// swarm's nodes are daemons with real sandboxes or none: without, that chapter is
// left out, and the tour says so.
//
// Nothing in this package is safe for concurrent use.
package demo
