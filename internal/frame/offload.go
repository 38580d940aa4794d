package frame

// An Offload is a virtio_net_hdr (virtio 1.2, 5.1.6) in host form: what the
// sender of a frame left for the device to finish.
type Offload struct {
	// Flags holds NeedsCsum and DataValid.
	Flags uint8
	// GSO is the kind of segmentation left undone, GSONone for one wire frame.
	GSO GSO
	// HdrLen is the sender's guess at the length of all headers in bytes. It
	// is never trusted.
	HdrLen uint16
	// Size is the number of payload bytes per segment when GSO is set.
	Size uint16
	// CsumStart and CsumOffset say, when NeedsCsum is set, where the checksum
	// starts, counted from the Ethernet header, and where from there it is
	// stored. The field then holds the pseudo-header's sum.
	CsumStart, CsumOffset uint16
}

// The bits of Offload.Flags.
const (
	NeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	DataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID
)

// GSO is a virtio segmentation type. The values are those of the header.
type GSO uint8

// The kinds of segmentation.
const (
	GSONone GSO = 0    // VIRTIO_NET_HDR_GSO_NONE
	GSOTCP4 GSO = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	GSOUFO  GSO = 3    // VIRTIO_NET_HDR_GSO_UDP: fragmentation offload, never offered
	GSOTCP6 GSO = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	GSOUDP  GSO = 5    // VIRTIO_NET_HDR_GSO_UDP_L4: USO, IPv4 and IPv6
	GSOECN  GSO = 0x80 // VIRTIO_NET_HDR_GSO_ECN: bit set beside TCPV4 or TCPV6
)

// Kind returns the type without the ECN bit.
func (g GSO) Kind() GSO { return g &^ GSOECN }

// OffloadLen is the length of an encoded virtio_net_hdr in bytes.
const OffloadLen = 10

// Encode writes the header into b, which must hold [OffloadLen] bytes, in the
// byte order of this machine, as the kernel's TUN driver expects it.
func (o *Offload) Encode(b []byte) {
	_ = b[OffloadLen-1]
	b[0] = o.Flags
	b[1] = uint8(o.GSO)
	putNative16(b[2:], o.HdrLen)
	putNative16(b[4:], o.Size)
	putNative16(b[6:], o.CsumStart)
	putNative16(b[8:], o.CsumOffset)
}

// Decode reads the header from b, which must hold [OffloadLen] bytes. It checks
// nothing: [Frame.Parse] does, against the frame itself.
func (o *Offload) Decode(b []byte) {
	_ = b[OffloadLen-1]
	o.Flags = b[0]
	o.GSO = GSO(b[1])
	o.HdrLen = native16(b[2:])
	o.Size = native16(b[4:])
	o.CsumStart = native16(b[6:])
	o.CsumOffset = native16(b[8:])
}

// Caps is the set of offloads a port takes on write: the work a frame sent to
// it may leave undone.
type Caps uint8

// The bits of Caps, named after the TUN driver's TUN_F flags.
const (
	CapCsum Caps = 1 << iota // NeedsCsum: it finishes one L4 checksum
	CapTSO4
	CapTSO6
	CapECN // TSO with CWR set
	CapUSO // GSOUDP, both families
)

// Needs returns the capabilities that writing a frame with offload o takes. A type that
// is never offered needs some that no port has.
func (o *Offload) Needs() Caps {
	var kind Caps
	if o.Flags&NeedsCsum != 0 {
		kind = CapCsum
	}
	if o.GSO == GSONone {
		return kind
	}
	if o.GSO&GSOECN != 0 {
		kind |= CapECN
	}
	switch o.GSO.Kind() {
	case GSOTCP4:
		return kind | CapTSO4
	case GSOTCP6:
		return kind | CapTSO6
	case GSOUDP:
		return kind | CapUSO
	}
	return ^Caps(0)
}

// Takes reports whether a frame with offload o may be written to a port with
// these caps as it is.
func (c Caps) Takes(o *Offload) bool {
	if o.Flags&NeedsCsum != 0 && c&CapCsum == 0 {
		return false
	}
	if o.GSO&GSOECN != 0 && c&CapECN == 0 {
		return false
	}
	switch o.GSO.Kind() {
	case GSONone:
		return true
	case GSOTCP4:
		return c&CapTSO4 != 0
	case GSOTCP6:
		return c&CapTSO6 != 0
	case GSOUDP:
		return c&CapUSO != 0
	}
	return false
}
