package gossip

// Stats counts what a node sent and what it refused, since its start. Bytes are
// those of messages, before memberlist's headers and seal.
type Stats struct {
	Packets, PacketBytes uint64 // datagrams
	Streams, StreamBytes uint64
	Unsent               uint64 // messages that could not be sent
	Busy                 uint64 // messages not sent, for too many streams were being written
	QueueFull            uint64 // rows not gossiped, for too many waited
	Full                 uint64 // rows refused: the table is full
	Refused              uint64 // datagrams and streams of another key, or that are none of memberlist's
	Crowded              uint64 // streams cut off or not taken, for too many were open
	Malformed            uint64 // messages that are none
	OtherFormat          uint64 // messages of another format version
	NotAttached          uint64 // messages of networks that this node does not have
	Contradicted         uint64 // rows in this node's name that it did not write
}

// Stats returns the counters.
func (g *Gossip) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}

func (g *Gossip) count(f func(*Stats)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.stats)
}
