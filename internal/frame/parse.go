package frame

// Parse looks at the frame once, bounds-checked against hostile input, fills
// View, and checks Offload against the bytes. It returns NotDropped, or why the
// frame has to be dropped. It is the view step of the data path.
//
// Frames of other protocols than IP are fine; so are fragments. A frame is bad
// only when its own length fields contradict its length, for then no later step
// could trust an offset.
func (f *Frame) Parse() Reason {
	b := f.Bytes()
	f.View = View{}
	if len(b) < EtherLen {
		return Runt
	}
	if len(b) > MaxFrame {
		return Oversized
	}
	// A group address (bit 0 of the first byte) or zero can send nothing.
	if b[6]&1 != 0 || b[6]|b[7]|b[8]|b[9]|b[10]|b[11] == 0 {
		return BadSource
	}
	v := &f.View
	l3, et := EtherLen, be16(b[12:])
	for tags := 0; et == EtherVLAN || et == EtherQinQ; tags++ {
		if tags == 2 || len(b) < l3+4 {
			return BadHeader
		}
		if v.VLAN == 0 {
			v.VLAN = be16(b[l3:]) & 0x0fff
		}
		et = be16(b[l3+2:])
		l3 += 4
	}
	v.L3, v.EtherType = uint16(l3), et
	r := NotDropped
	switch et {
	case EtherIPv4:
		r = v.parse4(b)
	case EtherIPv6:
		r = v.parse6(b)
	}
	if r != NotDropped {
		return r
	}
	if f.Offload.GSO != GSONone || f.Offload.Flags&NeedsCsum != 0 {
		return f.checkOffload()
	}
	return NotDropped
}

// parse4 reads an IPv4 header (RFC 791, 3.1) at v.L3.
func (v *View) parse4(b []byte) Reason {
	l3 := int(v.L3)
	p := b[l3:]
	if len(p) < 20 || p[0]>>4 != 4 {
		return BadHeader
	}
	ihl := int(p[0]&15) * 4
	total := int(be16(p[2:]))
	// A short frame is padded to 60 bytes, so total may be less than len(p).
	if ihl < 20 || total < ihl || total > len(p) {
		return BadHeader
	}
	frag := be16(p[6:])
	v.Proto = p[9]
	v.Fragment = frag&0x3fff != 0 // MF set or an offset
	v.walked = uint16(l3 + ihl)
	if frag&0x1fff != 0 {
		v.Later = true
		return NotDropped
	}
	return v.parse4or6L4(b, l3+ihl, l3+total)
}

// parse6 reads an IPv6 header (RFC 8200, 3) at v.L3 and walks the extension
// headers that may stand before a transport header.
func (v *View) parse6(b []byte) Reason {
	l3 := int(v.L3)
	p := b[l3:]
	if len(p) < 40 || p[0]>>4 != 6 {
		return BadHeader
	}
	payload := int(be16(p[4:]))
	if payload > len(p)-40 {
		return BadHeader
	}
	next, at, end := p[6], l3+40, l3+40+payload
	for n := 0; n < maxExtensions; n++ {
		size := 0
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if at+8 > end {
				return BadHeader
			}
			size = (int(b[at+1]) + 1) * 8
		case 44: // fragment (RFC 8200, 4.5)
			if at+8 > end {
				return BadHeader
			}
			size = 8
			v.Fragment = true
			if be16(b[at+2:])&0xfff8 != 0 {
				v.Proto, v.Later = b[at], true
				return NotDropped
			}
		default:
			v.Proto, v.walked = next, uint16(at)
			return v.parse4or6L4(b, at, end)
		}
		if at+size > end {
			return BadHeader
		}
		next, at = b[at], at+size
	}
	v.Proto, v.walked = next, uint16(at)
	return NotDropped
}

// maxExtensions bounds the walk over IPv6 extension headers. A longer chain is
// carried, its transport unseen.
const maxExtensions = 8

// parse4or6L4 reads the transport header between at and end, where the IP
// packet ends. The first fragment of a datagram may hold less than its header's
// length fields say.
func (v *View) parse4or6L4(b []byte, at, end int) Reason {
	n := end - at
	switch v.Proto {
	case ProtoTCP:
		if n < 20 {
			return v.shortL4()
		}
		off := int(b[at+12]>>4) * 4
		if off < 20 || off > n {
			return v.shortL4()
		}
		v.Payload = uint16(at + off)
	case ProtoUDP:
		if n < 8 {
			return v.shortL4()
		}
		if ul := int(be16(b[at+4:])); !v.Fragment && (ul < 8 && ul != 0 || ul > n) {
			return BadHeader
		}
		v.Payload = uint16(at + 8)
	case ProtoICMP, ProtoICMPv6:
		if n < 4 {
			return v.shortL4()
		}
	default:
		return NotDropped
	}
	v.L4 = uint16(at)
	return NotDropped
}

// shortL4 judges a transport header that does not fit: bad in a whole datagram,
// carried unseen in a first fragment, whose rest the receiver may have (and
// which RFC 7112 and RFC 3128 tell end hosts to drop).
func (v *View) shortL4() Reason {
	if v.Fragment {
		return NotDropped
	}
	return BadHeader
}
