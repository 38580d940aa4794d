package vswitch

import "weft/internal/frame"

// Originate sends a frame of the switch's own to every port of a domain: what
// Queries returned. It is a turn of the worker's. As it came from no port, it is
// counted where it leaves and nowhere else, and neither horizon nor isolation
// holds it back.
func (w *Worker) Originate(d *Domain, data []byte) {
	w.turn.Add(1)
	defer w.turn.Add(1)
	w.batch.Reset()
	f := w.batch.Append(data)
	if f == nil || f.Parse() != frame.NotDropped {
		return
	}
	w.begin()
	for _, out := range *d.members.Load() {
		if int(out.slot) < len(w.ports) && w.ports[out.slot] == out && out.carries(f.View.VLAN) {
			w.send(out, f)
		}
	}
	w.flush()
}
