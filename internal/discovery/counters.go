package discovery

import (
	"iter"
	"sync/atomic"
)

// A Counter is something that is counted.
type Counter uint8

// The counters. Their names are those of the metrics.
const (
	QueriesUDP     Counter = iota // datagrams that are a question
	QueriesTCP                    // the same over TCP
	AnsweredLocal                 // from the records
	AnsweredCached                // from a forwarder's cache
	AnsweredRemote                // by a server that was asked
	AnsweredEmpty                 // the name is known, the type is not
	Truncated                     // the answer did not fit the datagram: TC was set
	Refused                       // by policy: class, transfer, no view
	Malformed                     // answered with FORMERR, or nothing where there is no header
	NotImplemented                // an opcode other than QUERY
	NotForwarded                  // unknown, and the client has no way out
	Loops                         // CNAME chains that were too long
	Failed                        // no server gave an answer
	Busy                          // too many questions forwarded at once
	TCPRefused                    // connections beyond the bound
	Dropped                       // datagrams that are answers, not questions
	Spoofed                       // answers that do not belong to what was asked
	Timeouts                      // servers that did not answer in time
	RetriedTCP                    // truncated answers asked for again over TCP
	Joined                        // questions that waited for the same one asked before
	Evicted                       // left a cache for others
	Transfers                     // AXFR
	NameFull                      // owners beyond those that one name may have
	TableFull                     // endpoints, services, static records, networks
	BadName                       // names that DNS cannot carry
	numCounters
)

var counterNames = [numCounters]string{
	"queries-udp", "queries-tcp", "answered-local", "answered-cached", "answered-remote", "answered-empty", "truncated", "refused", "malformed",
	"not-implemented", "not-forwarded", "cname-loops", "failed", "busy", "tcp-refused", "dropped", "spoofed", "timeouts", "retried-tcp", "joined",
	"evicted", "transfers", "name-full", "table-full", "bad-name",
}

func (c Counter) String() string { return counterNames[c] }

// Stats counts for as many tables, servers and forwarders as it is given to. The zero
// value is ready. It is safe for concurrent use.
type Stats struct {
	counts [numCounters]atomic.Uint64
}

// Get returns one counter.
func (s *Stats) Get(c Counter) uint64 { return s.counts[c].Load() }

// All yields every counter.
func (s *Stats) All() iter.Seq2[Counter, uint64] {
	return func(yield func(Counter, uint64) bool) {
		for c := range numCounters {
			if !yield(c, s.Get(c)) {
				return
			}
		}
	}
}

func (s *Stats) count(c Counter) { s.counts[c].Add(1) }
