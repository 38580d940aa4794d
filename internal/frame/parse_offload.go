package frame

// checkOffload holds the virtio header against the frame it came with. hdr_len
// is ignored: a sender may put anything there.
func (f *Frame) checkOffload() Reason {
	o, v := &f.Offload, &f.View
	if o.Flags&NeedsCsum != 0 && !f.sumInPlace() {
		return BadOffload
	}
	if o.GSO == GSONone {
		return NotDropped
	}
	if o.CsumStart != v.L4 {
		return BadOffload
	}
	// A superframe needs a transport header to be cut by, a size to be cut to
	// and an unfinished checksum; its IP length must be that of the frame.
	if v.L4 == 0 || v.Fragment || o.Size == 0 || o.Flags&NeedsCsum == 0 || int(v.L4)+f.L4Len() != f.Len() {
		return BadOffload
	}
	switch o.GSO.Kind() {
	case GSOTCP4:
		return okIf(v.EtherType == EtherIPv4 && v.Proto == ProtoTCP)
	case GSOTCP6:
		return okIf(v.EtherType == EtherIPv6 && v.Proto == ProtoTCP)
	case GSOUDP:
		return okIf(o.GSO == GSOUDP && v.Proto == ProtoUDP)
	}
	return BadOffload
}

func okIf(ok bool) Reason {
	if ok {
		return NotDropped
	}
	return BadOffload
}

// sumInPlace reports whether the checksum left undone is one that a frame has
// at that place. Whoever finishes it overwrites two bytes with a value of the
// sender's choice, after the guard has looked: they must never be an address, a
// port or a type.
func (f *Frame) sumInPlace() bool {
	v, start, offset := &f.View, int(f.Offload.CsumStart), int(f.Offload.CsumOffset)
	field := start + offset
	if start < int(v.L3) || field+2 > f.Len() {
		return false
	}
	switch v.EtherType {
	case EtherIPv4, EtherIPv6:
	case EtherARP:
		return false
	default:
		return true
	}
	// Kernels finish checksums before they fragment.
	if start < int(v.walked) || v.Fragment {
		return false
	}
	if v.L4 != 0 && start == int(v.L4) {
		return offset == sumOffset(v.Proto)
	}
	// Local checksum offload: the sum of a transport header inside a tunnel,
	// over UDP or a protocol not looked into.
	return v.L4 == 0 || v.Proto == ProtoUDP && field >= int(v.Payload)
}

// sumOffset returns where a transport header that Parse reads has its checksum.
func sumOffset(proto uint8) int {
	switch proto {
	case ProtoTCP:
		return 16
	case ProtoUDP:
		return 6
	}
	return 2 // ICMP, ICMPv6
}
