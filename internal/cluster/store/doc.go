// Package store keeps what the managers of a swarm agree on: the cluster and its
// secrets, nodes, networks with their subnets and VNIs, and the addresses of all
// endpoints. Each manager has a full copy; a log that hashicorp/raft replicates
// (Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm,
// 2014) changes all copies alike. Log and term lie in a bbolt file, snapshots in
// files beside it; each entry is sealed, and a torn or foreign file is refused.
//
// What changes often and needs no agreement is not here: where endpoints are, and
// whether nodes live, is gossiped.
//
// Everything here is safe for concurrent use.
package store
