package vxlan

import (
	"sync/atomic"

	"weft/internal/frame"
)

// SocketStats is what a socket has done since it was opened. What was received
// adds up: Datagrams = Frames + Control + the sum of Drops.
type SocketStats struct {
	// Messages the kernel handed over, Merged of them by GRO out of several
	// datagrams; the datagrams and the bytes in them, VXLAN headers included;
	// the frames they held, and what was dropped, by reason.
	Messages, Merged, Datagrams, Bytes, Frames uint64
	Drops                                      [frame.Reasons]uint64
	// Control counts the datagrams on a socket for ESP that held no frame and were
	// not meant to: keepalives, dummy packets, and what is behind the non-ESP marker.
	Control uint64
	// KernelDrops counts what the kernel dropped in front of the socket: datagrams
	// that found its receive buffer full, or had a wrong checksum. Those it had
	// merged count as one. It wraps around at 32 bits.
	KernelDrops uint64
	// SentMessages were taken by the kernel, SentMerged of them by GSO for
	// several datagrams; SentDatagrams is the frames in them, SentBytes their
	// bytes, VXLAN headers included; Calls the system calls it took. Frames
	// that could not be sent are the switch port's to count.
	SentMessages, SentMerged, SentDatagrams, SentBytes, Calls uint64
	// SendRung and ReceiveRung are where the ladders stand, SendNote and
	// ReceiveNote why that is not their top, empty if it is.
	SendRung              SendRung
	ReceiveRung           ReceiveRung
	SendNote, ReceiveNote string
	// SendFault is the last error of the underlay but a full buffer, such as
	// "network is unreachable"; empty if there was none.
	SendFault string
	// SendBuffer and ReceiveBuffer are what the kernel granted, in bytes.
	SendBuffer, ReceiveBuffer int
}

// receiveCounters are written by one reader alone.
type receiveCounters struct {
	messages, merged, datagrams, bytes, frames, control atomic.Uint64
	drops                                               [frame.Reasons]atomic.Uint64
}

// sendCounters are written by one worker alone.
type sendCounters struct {
	messages, merged, datagrams, bytes, calls atomic.Uint64
	fault                                     atomic.Uintptr // errno
}

func (c *receiveCounters) addTo(s *SocketStats) {
	s.Messages += c.messages.Load()
	s.Merged += c.merged.Load()
	s.Datagrams += c.datagrams.Load()
	s.Bytes += c.bytes.Load()
	s.Frames += c.frames.Load()
	s.Control += c.control.Load()
	for r := range s.Drops {
		s.Drops[r] += c.drops[r].Load()
	}
}

func (c *sendCounters) addTo(s *SocketStats) {
	s.SentMessages += c.messages.Load()
	s.SentMerged += c.merged.Load()
	s.SentDatagrams += c.datagrams.Load()
	s.SentBytes += c.bytes.Load()
	s.Calls += c.calls.Load()
}
