package demo

import (
	"context"
	"fmt"
	"strings"

	"weft/internal/capture"
)

// A crossing is what went from node to node, by kind.
type crossing struct {
	echoes   int // pings and their answers
	searches int // for somebody: ARP, neighbour solicitations, any broadcast
	queries  int // for listeners to IP multicast, and their reports (IGMP, MLD)
	others   int
}

func (c *crossing) String() string {
	s := fmt.Sprintf("%d echoes, %d searches (ARP, neighbour solicitation, broadcast), %d others", c.echoes, c.searches, c.others)
	if c.queries > 0 {
		s += fmt.Sprintf("; %d queries for multicast listeners", c.queries)
	}
	return s
}

// count adds a frame.
func (c *crossing) count(p *capture.Packet) error {
	switch s := capture.Summary(p.Data); {
	case strings.Contains(s, "ff:ff:ff:ff:ff:ff"), strings.Contains(s, " ARP "), strings.Contains(s, "NeighborSolicitation"):
		c.searches++
	case strings.Contains(s, "EchoRequest"), strings.Contains(s, "EchoReply"):
		c.echoes++
	case strings.Contains(s, " IGMP"), strings.Contains(s, "Listener"):
		c.queries++
	default:
		c.others++
	}
	return nil
}

// overhear captures at one end of the tunnels between any two nodes of the swarm,
// while during runs, and counts what went either way.
func (t *tour) overhear(ctx context.Context, during func() error) (c crossing, err error) {
	var files []string
	for from := range swarmNodes {
		for to := range from {
			there, _, err := t.inSwarm(from)
			if err != nil {
				return c, err
			}
			file, inner := t.path(fmt.Sprintf("tunnel%d%d.pcapng", from+1, to+1)), during
			files = append(files, file)
			during = func() error { return there.capture(ctx, t.swarm.tunnel(to), "", file, inner) }
		}
	}
	if err := during(); err != nil {
		return c, err
	}
	for _, file := range files {
		if err := packets(file, c.count); err != nil {
			return c, err
		}
	}
	return c, nil
}
