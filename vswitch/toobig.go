package vswitch

import "weft/internal/frame"

// wantsTooBig reports whether the sender of a packet that does not fit is to be
// told.
func wantsTooBig(f *frame.Frame) bool {
	const df = 0x40
	v := &f.View
	if v.EtherType == frame.EtherIPv4 && f.Bytes()[v.L3+6]&df == 0 && (f.Offload.GSO == frame.GSONone || v.Proto != frame.ProtoTCP) {
		return false
	}
	return f.WantsError()
}

// sendTooBig tells the sender of f, which came through in, that a packet of mtu
// bytes would have fitted. VLAN tags are those of f. The switch has no address that the
// sender must know, so the message comes from the one that the packet was for.
func (w *Worker) sendTooBig(in *Port, f *frame.Frame, mtu int) {
	if c := w.message(f, nil, fragNeeded, mtu); c != nil {
		w.send(in, c)
	}
}
