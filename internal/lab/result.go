package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weft/internal/frame"
	"weft/vswitch"
)

// A Result is what a replay came to. Everything but Elapsed depends on the
// inputs alone.
type Result struct {
	Seed    uint64 `json:"seed"`
	Records uint64 `json:"records"` // of all inputs
	// LastTime is the virtual clock at the end, in nanoseconds since 1970 UTC;
	// 0 when there was no record.
	LastTime int64        `json:"last-time"`
	Ports    []PortResult `json:"ports"` // by name; the wires among them
	// Tunnels are the ports that lead to other VTEPs: by node, network and peer.
	Tunnels []PortResult `json:"tunnels,omitempty"`
	// Direct are the datagrams that nodes of the lab sent each other, by node:
	// together with those of its wire they are what a VTEP got.
	Direct []PortResult `json:"direct,omitempty"`
	// Elapsed is how long it took in real time, reading and writing included.
	Elapsed time.Duration `json:"-"`
}

// A PortResult is one port's statistics. In.Frames equals Forwarded + Consumed +
// Kept + all of Dropped. Of a wire, Forwarded is what a tunnel took.
type PortResult struct {
	Name    string `json:"name"`
	Node    string `json:"node,omitempty"`
	Network string `json:"network,omitempty"`
	Guarded bool   `json:"guarded"`
	In      Count  `json:"in"`
	// Snapped records hold less than was on the wire; they go through the
	// switch as they are.
	Snapped   uint64            `json:"snapped,omitempty"`
	Forwarded uint64            `json:"forwarded"`
	Consumed  uint64            `json:"consumed"`
	Kept      uint64            `json:"kept"`
	Dropped   map[string]uint64 `json:"dropped,omitempty"` // by reason
	Out       Count             `json:"out"`
	// OutDropped were to leave through this port and did not.
	OutDropped map[string]uint64 `json:"out-dropped,omitempty"`
}

// A Count is a number of frames and of their bytes.
type Count struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// result gathers the statistics and checks that every record, and every frame of
// a tunnel, is accounted for.
func (b *bench) result(seed uint64) (*Result, error) {
	res := &Result{Seed: seed, LastTime: b.now}
	for _, v := range b.ports {
		p := v.result()
		if v.records != p.In.Frames {
			return nil, fmt.Errorf("port %s: %d records, %d frames in: this is a defect of the switch", v.Name, v.records, p.In.Frames)
		}
		res.Records += v.records
		res.Ports = append(res.Ports, p)
	}
	for _, n := range b.nodes {
		if n.underlay == nil || len(n.underlay.tunnels) == 0 {
			continue
		}
		var inner uint64
		for _, t := range n.underlay.tunnels {
			p := PortResult{Name: t.name, Node: n.name, Network: t.network}
			p.read(t.port.Stats())
			inner += p.In.Frames
			res.Tunnels = append(res.Tunnels, p)
		}
		direct := n.underlay.direct.result()
		direct.Name, direct.Node = "direct", n.name
		res.Direct = append(res.Direct, direct)
		taken := direct.Forwarded
		if w := n.underlay.wire; w != nil {
			taken += w.wired.taken
		}
		if taken != inner {
			return nil, fmt.Errorf("node %s: %d frames decapsulated, %d came in by its tunnels: this is a defect of the switch", n.name, taken, inner)
		}
	}
	for _, all := range [][]PortResult{res.Ports, res.Tunnels, res.Direct} {
		for i := range all {
			if p := &all[i]; p.In.Frames != p.Forwarded+p.Consumed+p.Kept+p.DroppedTotal() {
				return nil, fmt.Errorf("port %s: %d frames in, %d accounted for: this is a defect of the switch", p.Name, p.In.Frames, p.Forwarded+p.Consumed+p.Kept+p.DroppedTotal())
			}
		}
	}
	return res, nil
}

// result returns the statistics of a bare port or a wire.
func (v *vport) result() PortResult {
	p := v.wired.result()
	p.Name, p.Node, p.Network, p.Guarded, p.Snapped = v.Name, v.node.name, v.Network, v.MAC != frame.MAC{} && !v.Outside, v.snapped
	if v.port != nil {
		p.read(v.port.Stats())
	}
	if v.oversized > 0 {
		p.In.Frames += v.oversized
		p.Dropped[frame.Oversized.String()] += v.oversized
	}
	return p
}

// read takes over what the switch counted.
func (p *PortResult) read(s vswitch.Stats) {
	p.In, p.Out = Count{s.InFrames, s.InBytes}, Count{s.OutFrames, s.OutBytes}
	p.Forwarded, p.Consumed, p.Kept = s.Forwarded, s.Consumed, s.Kept
	p.Dropped, p.OutDropped = map[string]uint64{}, map[string]uint64{}
	for r := range frame.Reasons {
		if n := s.Dropped[r]; n > 0 {
			p.Dropped[frame.Reason(r).String()] = n
		}
		if n := s.OutDropped[r]; n > 0 {
			p.OutDropped[frame.Reason(r).String()] = n
		}
	}
}

// result returns what was counted.
func (t *traffic) result() PortResult {
	p := PortResult{In: t.in, Out: t.out, Forwarded: t.taken, Dropped: map[string]uint64{}}
	maps.Copy(p.Dropped, t.dropped)
	return p
}

// JSON returns the statistics as they are written to StatsFile.
func (r *Result) JSON() []byte {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // plain values: cannot fail
	}
	return append(b, '\n')
}

// Table returns the statistics for people, with the speed in the last line.
func (r *Result) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "PORT\tNODE\tNETWORK\tIN\tFORWARDED\tCONSUMED\tDROPPED\tOUT\tWHY DROPPED")
	for _, p := range slices.Concat(r.Ports, r.Tunnels, r.Direct) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", p.Name, p.Node, p.Network, p.In.Frames, p.Forwarded, p.Consumed, p.DroppedTotal(), p.Out.Frames, p.why())
	}
	w.Flush()
	fmt.Fprintf(&b, "%d frames, every one accounted for, in %v (%.0f frames/s)\n", r.Records, r.Elapsed.Round(time.Millisecond), r.Speed())
	return b.String()
}

// DroppedTotal is the number of the port's frames in that were dropped.
func (p *PortResult) DroppedTotal() (n uint64) {
	for _, d := range p.Dropped {
		n += d
	}
	return n
}

// reasons lists the names of all there are, in the order of the steps.
func reasons() []string {
	names := wireReasons()
	for r := range frame.Reasons {
		names = append(names, frame.Reason(r).String())
	}
	return names
}

// why lists the reasons in the order of the steps.
func (p *PortResult) why() string {
	var why []string
	for _, name := range reasons() {
		if n := p.Dropped[name]; n > 0 {
			why = append(why, fmt.Sprintf("%s %d", name, n))
		}
		if n := p.OutDropped[name]; n > 0 {
			why = append(why, fmt.Sprintf("on the way out %s %d", name, n))
		}
	}
	return strings.Join(why, ", ")
}

// Speed is frames per second of real time.
func (r *Result) Speed() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Records) / r.Elapsed.Seconds()
}
