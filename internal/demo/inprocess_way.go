package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"weft/internal/api"
	"weft/internal/frame"
	"weft/internal/nettool"
	"weft/internal/uplink"
	"weft/tap"
	"weft/vswitch"
)

// Theory of operation: the way out of an in-process network
//
// As in a daemon, the domain has an exit, whose queue is a host uplink. The worker
// reads it as any port; a goroutine that waits for its descriptor wakes the worker.
// Networks are made by the tour alone, one after the other, and before the hosts on
// them.

// An exit is the way out of one network, and what hangs on it.
type exit struct {
	host    *uplink.Host
	port    *vswitch.Port
	poller  *tap.Poller
	stop    context.CancelFunc
	watched sync.WaitGroup
}

func (p *inProcess) inner(_ context.Context, name string, subnet netip.Prefix) error {
	_, err := p.domain(name, subnet)
	return err
}

// lead gives a network a way out, on systems that have one.
func (p *inProcess) lead(name string, d *vswitch.Domain, gw netip.Addr) error {
	h, err := uplink.NewHost(uplink.HostConfig{
		Name: name, MAC: frame.MAC(macFor(gw)), Addrs: []netip.Addr{gw}, Neighbour: d.Neighbours().Lookup, Inside: ownSubnet, HostLoopback: true,
	})
	if errors.Is(err, uplink.ErrNotSupported) {
		return nil
	} else if err != nil {
		return err
	}
	x := &exit{host: h}
	p.exits[name] = x
	if x.port, err = p.sw.AddPort(vswitch.PortConfig{Name: name + "@uplink", Domain: d, Exit: true, MTU: 1500}, h); err != nil {
		return err
	}
	if x.poller, err = tap.NewPoller(); err != nil {
		return err
	}
	if err := x.poller.Add(h.FD(), 1); err != nil {
		return err
	}
	watching, stop := context.WithCancel(context.Background())
	x.stop = stop
	x.watched.Go(func() { p.watch(watching, x.poller) })
	return nil
}

// ownSubnet reports whether an address is in a network of the tour's.
func ownSubnet(a netip.Addr) bool {
	for _, n := range []string{front, back, wide, inner} {
		if subnet(n).Contains(a) {
			return true
		}
	}
	return false
}

// close ends what goes by it. The worker has ended.
func (x *exit) close(sw *vswitch.Switch) error {
	if x.stop != nil {
		x.stop()
		_ = x.poller.Wake() // fails only if it is closed
		x.watched.Wait()
	}
	if x.poller != nil {
		x.poller.Close()
	}
	if x.port != nil {
		sw.RemovePort(x.port)
	}
	return x.host.Close()
}

func (p *inProcess) web(ctx context.Context, host, network string) (tcp, udp netip.AddrPort, err error) {
	x := p.exits[network]
	if x == nil {
		return tcp, udp, fmt.Errorf("network %s has no way out", network)
	}
	h, err := p.bare(ctx, host, network)
	if err != nil {
		return tcp, udp, err
	}
	ln, err := h.listen(webPort)
	if err != nil {
		return tcp, udp, fmt.Errorf("%s: %w", host, err)
	}
	datagrams, err := h.listenUDP(webPort)
	if err != nil {
		return tcp, udp, errors.Join(fmt.Errorf("%s: %w", host, err), ln.Close())
	}
	p.serve(func(ctx context.Context) { _ = nettool.Web(ctx, ln, datagrams, host, io.Discard) })
	to := netip.AddrPortFrom(h.nics[0].addr.Addr(), webPort)
	for _, b := range []struct {
		proto string
		at    *netip.AddrPort
	}{{"tcp", &tcp}, {"udp", &udp}} {
		open, err := x.host.Publish(uplink.Binding{Proto: b.proto, Listen: netip.AddrPortFrom(underlay(0), 0), Target: to})
		if err != nil {
			return tcp, udp, err
		}
		*b.at = open.Addr()
	}
	return tcp, udp, nil
}

func (p *inProcess) fetch(ctx context.Context, host, url string, timeout time.Duration) (string, error) {
	h, err := p.host(host)
	if err != nil {
		return "", err
	}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		return h.dial(ctx, to)
	}
	var text bytes.Buffer
	err = nettool.Fetch(ctx, dial, url, timeout, &text)
	return text.String(), err
}

func (p *inProcess) flows(_ context.Context, host string) (flows []api.Flow, table string, err error) {
	h, err := p.host(host)
	if err != nil {
		return nil, "", err
	}
	for _, n := range h.nics {
		x := p.exits[n.network]
		if x == nil {
			continue
		}
		for _, f := range x.host.Flows() {
			if f.Endpoint.Addr() != n.addr.Addr() {
				continue
			}
			flows = append(flows, api.Flow{
				Network: n.network, Sandbox: host, Proto: f.Proto, State: f.State, Endpoint: f.Endpoint, Remote: f.Remote, Published: f.Published,
				TxBytes: f.BytesOut, RxBytes: f.BytesIn, Age: f.Age, Idle: f.Idle,
			})
			by := "begun by " + host
			if f.Published.IsValid() {
				by = "published at " + f.Published.String()
			}
			table += fmt.Sprintf("%s %s: %s and %s, %s, %d B sent, %d received\n", f.Proto, f.State, f.Endpoint, f.Remote, by, f.BytesOut, f.BytesIn)
		}
	}
	return flows, table, nil
}
