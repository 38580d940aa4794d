package lab

// A queue is a heap of the ports that have a record, least time first, among
// equals least name. It is written out because container/heap would cost more
// than the switch.
type queue []entry

type entry struct {
	time  int64
	order int // of the port's name
	port  *vport
}

func (e *entry) before(f *entry) bool {
	return e.time < f.time || e.time == f.time && e.order < f.order
}

// push adds an entry.
func (q *queue) push(e entry) {
	*q = append(*q, e)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// pop replaces the first entry by the last; sink has to follow.
func (q *queue) pop() {
	h := *q
	h[0] = h[len(h)-1]
	*q = h[:len(h)-1]
}

// sink moves the first entry, whose time has changed, to its place.
func (q queue) sink() {
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q); c++ {
			if q[c].before(&q[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
}
