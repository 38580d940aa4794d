package gossip

// changes are what the callbacks have not been told yet.
type changes struct {
	networks map[string]bool
	members  bool
}

func (c *changes) network(id string) {
	if c.networks == nil {
		c.networks = map[string]bool{}
	}
	c.networks[id] = true
}

func (g *Gossip) wakeLocked() {
	select {
	case g.notify <- struct{}{}:
	default:
	}
}

// notifier calls the callbacks, one at a time; changes that come meanwhile are told
// together.
func (g *Gossip) notifier() {
	for {
		select {
		case <-g.stop.Done():
			return
		case <-g.notify:
		}
		g.mu.Lock()
		c := g.changed
		g.changed = changes{}
		g.mu.Unlock()
		if c.members && g.cfg.MembersChanged != nil {
			g.cfg.MembersChanged()
		}
		for id := range c.networks {
			if g.cfg.Changed != nil && g.stop.Err() == nil {
				g.cfg.Changed(id)
			}
		}
	}
}
