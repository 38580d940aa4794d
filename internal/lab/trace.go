package lab

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/frame"
	"weft/vswitch"
)

// Trace says step by step what the lab's switch would do with a frame that came
// in through a port, before any other frame: nothing is learned yet. Ports need
// no captures.
func Trace(l *Lab, port string, data []byte) (vswitch.Trace, error) {
	b, err := build(l, 0)
	if err != nil {
		return vswitch.Trace{}, err
	}
	defer b.close()
	i := slices.IndexFunc(b.ports, func(v *vport) bool { return v.Name == port })
	if i < 0 {
		return vswitch.Trace{}, fmt.Errorf("%s: no port %q; there are: %s", l.Path, port, strings.Join(b.names(), ", "))
	}
	v := b.ports[i]
	if v.Underlay {
		return vswitch.Trace{}, fmt.Errorf("%s: port %s is the underlay: a trace from there is not supported yet, name a port of a network", l.Path, port)
	}
	return v.node.sw.Trace(v.port, data, frame.Offload{}), nil
}
