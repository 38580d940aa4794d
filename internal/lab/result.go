package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"weft/internal/frame"
)

// A Result is what a replay came to. Everything but Elapsed depends on the
// inputs alone.
type Result struct {
	Seed    uint64 `json:"seed"`
	Records uint64 `json:"records"` // of all inputs
	// LastTime is the virtual clock at the end, in nanoseconds since 1970 UTC;
	// 0 when there was no record.
	LastTime int64        `json:"last-time"`
	Ports    []PortResult `json:"ports"` // by name
	// Elapsed is how long it took in real time, reading and writing included.
	Elapsed time.Duration `json:"-"`
}

// A PortResult is one port's statistics. In.Frames equals Forwarded + Consumed +
// Kept + all of Dropped.
type PortResult struct {
	Name    string `json:"name"`
	Node    string `json:"node,omitempty"`
	Network string `json:"network"`
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

// result gathers the statistics and checks that every record is accounted for.
func (b *bench) result(seed uint64) (*Result, error) {
	res := &Result{Seed: seed, LastTime: b.now}
	for _, v := range b.ports {
		s := v.port.Stats()
		p := PortResult{
			Name: v.Name, Node: v.node.name, Network: v.Network, Guarded: v.MAC != frame.MAC{},
			In: Count{s.InFrames + v.oversized, s.InBytes}, Snapped: v.snapped,
			Forwarded: s.Forwarded, Consumed: s.Consumed, Kept: s.Kept,
			Dropped: map[string]uint64{}, OutDropped: map[string]uint64{},
			Out: Count{s.OutFrames, s.OutBytes},
		}
		s.Dropped[frame.Oversized] += v.oversized
		ended := p.Forwarded + p.Consumed + p.Kept
		for r := range frame.Reasons {
			if n := s.Dropped[r]; n > 0 {
				p.Dropped[frame.Reason(r).String()] = n
				ended += n
			}
			if n := s.OutDropped[r]; n > 0 {
				p.OutDropped[frame.Reason(r).String()] = n
			}
		}
		if v.records != p.In.Frames || p.In.Frames != ended {
			return nil, fmt.Errorf("port %s: %d records, %d frames in, %d accounted for: this is a defect of the switch", v.Name, v.records, p.In.Frames, ended)
		}
		res.Records += v.records
		res.Ports = append(res.Ports, p)
	}
	return res, nil
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
	for _, p := range r.Ports {
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

// why lists the reasons in the order of the switch's steps.
func (p *PortResult) why() string {
	var why []string
	for r := range frame.Reasons {
		name := frame.Reason(r).String()
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
