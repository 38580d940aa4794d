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
// bytes would have fitted. VLAN tags are those of f.
func (w *Worker) sendTooBig(in *Port, f *frame.Frame, mtu int) {
	if w.own == nil {
		w.own = frame.NewBatch()
	}
	slot := w.own.Reserve()
	if slot == nil {
		return
	}
	b := f.Bytes()
	from := b[f.View.L3:]
	if f.View.EtherType == frame.EtherIPv4 {
		from = from[16:20]
	} else {
		from = from[24:40]
	}
	c := w.own.Commit(f.PutError(slot[frame.Headroom:], frame.TooBigError(f, mtu), from))
	c.In, c.VNI, c.Verdict = f.In, f.VNI, frame.Consumed
	c.Parse()
	w.send(in, c)
}
