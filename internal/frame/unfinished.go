package frame

// Unfinished finds out whether the sender of a frame that came without a virtio
// header left its transport checksum undone all the same, and for TCP its
// segmentation, and if so says it in Offload. mtu is the largest IP packet, in
// bytes, that the way it came takes as one wire frame. The frame must have been
// parsed.
//
// Linux does so: its VXLAN device leaves both to the link below, and a virtual
// link (veth) leaves them to whoever is at its end, which is a UDP socket that is
// handed the bytes as they are. The mark is a checksum field that holds the
// pseudo-header's sum. One finished frame in 65,536 bears it by chance; it loses
// nothing, for finishing it again gives the same checksum.
func (f *Frame) Unfinished(mtu int) {
	v, o := &f.View, &f.Offload
	if v.L4 == 0 || v.Fragment || o.Flags&NeedsCsum != 0 {
		return
	}
	offset := uint16(16)
	switch v.Proto {
	case ProtoTCP:
	case ProtoUDP:
		offset = 6
	default:
		return
	}
	n := f.L4Len()
	field := be16(f.Bytes()[v.L4+offset:])
	if field != Fold(f.PseudoSum(n)) {
		return
	}
	o.Flags, o.CsumStart, o.CsumOffset = NeedsCsum, v.L4, offset
	headers := int(v.Payload - v.L3)
	if v.Proto != ProtoTCP || int(v.L4-v.L3)+n <= mtu || mtu <= headers || int(v.L4)+n != f.Len() {
		return
	}
	// TCP does not mind where it is cut: the size the sender had in mind is lost.
	o.GSO, o.HdrLen, o.Size = GSOTCP4, v.Payload, uint16(mtu-headers)
	if v.EtherType == EtherIPv6 {
		o.GSO = GSOTCP6
	}
	if f.Bytes()[v.L4+13]&0x80 != 0 { // CWR
		o.GSO |= GSOECN
	}
}
