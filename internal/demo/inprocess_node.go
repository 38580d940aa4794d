package demo

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"weft/internal/frame"
	"weft/tap"
	"weft/vswitch"
	"weft/vxlan"
)

// Theory of operation: a node in this process
//
// A node is a switch of its own, as every in-process stage is, with a VXLAN socket
// on a loopback address. join opens it, with a tunnel for each peer; leave closes
// it. What comes in is read by the switch's worker, which is woken by a goroutine
// that waits for the socket (watch) and ends with it.

// A vtep is the socket of an in-process node, and what hangs on it.
type vtep struct {
	sock    *vxlan.Socket
	poller  *tap.Poller
	tunnels []*vswitch.Port
	stop    context.CancelFunc
	watched sync.WaitGroup
}

func (p *inProcess) member(_ context.Context, _ int, at netip.AddrPort) (member, error) {
	n, err := newInProcess()
	if err != nil {
		return nil, err
	}
	n.at = at
	return n, nil
}

func (p *inProcess) overlay(_ context.Context, o overlayNet) error {
	if _, err := p.domain(o.name, o.subnet); err != nil {
		return err
	}
	if first := o.own.Addr(); first.Compare(p.next[o.name]) > 0 {
		p.next[o.name] = first
	}
	p.told = o
	return p.join()
}

func (p *inProcess) halt(context.Context) error {
	p.leave()
	return nil
}

func (p *inProcess) resume(context.Context) error { return p.join() }

// join opens the node's socket and its tunnels.
func (p *inProcess) join() error {
	v := &vtep{}
	var err error
	if v.sock, err = vxlan.Listen(vxlan.Config{Addr: p.at}); err != nil {
		return err
	}
	if v.poller, err = tap.NewPoller(); err != nil {
		v.sock.Close()
		return err
	}
	watching, stop := context.WithCancel(context.Background())
	v.stop = stop
	p.mu.Lock()
	p.vtep = v
	p.mu.Unlock()
	var routes []vxlan.Route
	for _, peer := range p.told.peers {
		config := vswitch.PortConfig{Name: fmt.Sprintf("%s@%s", p.told.name, peer), Domain: p.networks[p.told.name], MTU: 1500, Horizon: 1}
		port, err := p.sw.AddPort(config, v.sock.NewLink(peer, p.told.vni).Queues()[0])
		if err != nil {
			p.leave()
			return err
		}
		v.tunnels = append(v.tunnels, port)
		routes = append(routes, vxlan.Route{Peer: peer, VNI: p.told.vni, Port: port.Index()})
	}
	v.sock.SetTable(vxlan.NewTable(routes))
	if err := v.poller.Add(v.sock.FD(), 1); err != nil {
		p.leave()
		return err
	}
	v.watched.Go(func() { p.watch(watching, v.poller) })
	return nil
}

// watch wakes the worker when something has come, until ctx ends.
func (p *inProcess) watch(ctx context.Context, poller *tap.Poller) {
	var ready [1]uint64
	for ctx.Err() == nil {
		if _, err := poller.Wait(ready[:], -1); err != nil {
			return
		}
		select {
		case p.wake <- struct{}{}: // no sooner than the worker has taken the last
		case <-ctx.Done():
		}
	}
}

// receive takes a turn on the socket, if there is one.
func (p *inProcess) receive(w *vswitch.Worker) (moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vtep == nil {
		return false
	}
	n, err := w.Inbound(p.vtep.sock)
	return err == nil && (n > 0 || p.vtep.sock.Pending())
}

// leave removes the tunnels and closes the socket.
func (p *inProcess) leave() {
	p.mu.Lock()
	v := p.vtep
	p.vtep = nil
	p.mu.Unlock()
	if v == nil {
		return
	}
	v.stop()
	_ = v.poller.Wake() // fails only if it is closed
	v.watched.Wait()
	for _, port := range v.tunnels {
		p.sw.RemovePort(port)
	}
	v.poller.Close()
	v.sock.Close()
}

func (p *inProcess) learned(context.Context) (map[string]string, error) {
	table := map[string]string{}
	for _, e := range p.sw.FDB(p.networks[p.told.name]) {
		table[e.MAC.String()] = e.Port.Name()
	}
	return table, nil
}

func (p *inProcess) unclaimed(context.Context) (map[string]uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := map[string]uint64{}
	if p.vtep == nil {
		return sum, nil
	}
	s := p.vtep.sock.Stats()
	for r, n := range s.Drops {
		sum[frame.Reason(r).String()] = n
	}
	maps.DeleteFunc(sum, func(_ string, n uint64) bool { return n == 0 })
	return sum, nil
}
