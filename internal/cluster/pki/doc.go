// Package pki is who is who in a cluster: the root that signs, the key and
// certificate of each node, the tokens that let new nodes in, and TLS
// configurations that accept members and nobody else.
//
// Keys are ECDSA on P-256, certificates X.509 (RFC 5280), connections TLS 1.3 (RFC
// 8446). A certificate names a node as Docker's swarm mode does: common name = node,
// organization = cluster, organizational unit = swarm-manager or swarm-worker. It
// carries no host name and no address: a peer is checked by its chain and by those
// three, so that a node may move.
//
// Not supported: external certificate authorities, chains with more than one
// certificate between a node's and a root, revocation. Who must go before its
// certificate ends, and who was demoted, is known to the managers' store: check
// [PeerSubject] against it.
//
// Nothing here reads a clock: time is a parameter, or [Credentials.Now]. Everything
// is safe for concurrent use: a [Root] and an [Identity] do not change.
package pki
