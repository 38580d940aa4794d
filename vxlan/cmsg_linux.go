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

// A control is room for the control messages of one receive, aligned as they have
// to be. UDP_GRO (int) is the only one asked for.
type control [8]uint64

func (c *control) bytes(n int) []byte {
	return (*[unsafe.Sizeof(*c)]byte)(unsafe.Pointer(c))[:min(n, int(unsafe.Sizeof(*c)))]
}

// readControl walks over the control messages in b and returns the size of the
// datagrams that were merged, 0 if none were.
func readControl(b []byte) (segment int) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		n := int(h.Len)
		if n < unix.CmsgLen(4) || n > len(b) {
			break // none has less
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO {
			segment = int(*(*int32)(unsafe.Pointer(&b[unix.CmsgLen(0)])))
		}
		b = b[min(len(b), unix.CmsgSpace(n-unix.CmsgLen(0))):]
	}
	return segment
}
