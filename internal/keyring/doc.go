// Package keyring keeps the keys by which one node talks to others on encrypted
// networks: its own of the last two epochs, and with each peer the security
// associations that follow from both sides' announcements (package ipsec). It is a
// state machine: it does no I/O, reads no clock and starts nothing. Whoever owns a
// [Ring] tells it of epochs, of announcements that were verified, and of time, hands
// out its announcements, sends the probes it asks for, and publishes what it opens by.
//
// A ring has one way to authenticate (a cluster's certificates, or one pre-shared
// key) and one suite of algorithm and sequence numbers. A node has as many rings as
// its networks need.
//
// A Ring is safe for concurrent use.
package keyring
