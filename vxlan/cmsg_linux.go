package vxlan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A segmentSize is the control message of a send: how many bytes of the message
// make one datagram.
type segmentSize struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

// sizeofSegmentSize is its length as the kernel counts, padding included.
func sizeofSegmentSize() int { return unix.CmsgSpace(2) }

func (c *segmentSize) init() {
	c.header.Level, c.header.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	c.header.SetLen(unix.CmsgLen(2))
}

// A control is room for the control messages of one receive: UDP_GRO (int) and
// SO_RXQ_OVFL (32 bits), aligned as they have to be.
type control [8]uint64

func (c *control) bytes(n int) []byte {
	return (*[unsafe.Sizeof(*c)]byte)(unsafe.Pointer(c))[:min(n, int(unsafe.Sizeof(*c)))]
}

// A told is what control messages said: the size of the datagrams that were
// merged, 0 if none were; and the count of datagrams lost in front of the receive
// buffer, which starts at 0 and wraps around.
type told struct {
	segment  int
	overflow uint32
	overflew bool // overflow was told
}

// readControl walks over the control messages in b.
func readControl(b []byte) (t told) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		n := int(h.Len)
		if n < unix.CmsgLen(4) || n > len(b) {
			break // all that are asked for carry four bytes
		}
		value := *(*uint32)(unsafe.Pointer(&b[unix.CmsgLen(0)]))
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO:
			t.segment = int(int32(value))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL:
			t.overflow, t.overflew = value, true
		}
		b = b[min(len(b), unix.CmsgSpace(n-unix.CmsgLen(0))):]
	}
	return t
}
