package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"weft/internal/capture"
	"weft/internal/frame"
	"weft/internal/nettool"
	"weft/vswitch"
)

// inProcess is the stage without a kernel: netstack hosts on a switch of this
// process. It owns one goroutine per host, serving transfers, one per way out, and
// one that is the switch's worker; close stops and awaits them all.
type inProcess struct {
	sw       *vswitch.Switch
	networks map[string]*vswitch.Domain
	next     map[string]netip.Addr // the address given out next
	hosts    map[string]*netHost
	ports    map[string]map[string]*vswitch.Port // by host and network
	exits    map[string]*exit                    // by network: none of those that lead nowhere

	wake   chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup

	at   netip.AddrPort // of a node: where its VTEP is
	told overlayNet
	mu   sync.Mutex // vtep
	vtep *vtep      // nil: not on the underlay
}

func newInProcess() (*inProcess, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &inProcess{
		sw: vswitch.New(vswitch.Config{Workers: 1}), networks: map[string]*vswitch.Domain{}, next: map[string]netip.Addr{},
		hosts: map[string]*netHost{}, ports: map[string]map[string]*vswitch.Port{},
		exits: map[string]*exit{}, wake: make(chan struct{}, 1), cancel: cancel,
	}
	w, err := p.sw.NewWorker()
	if err != nil {
		cancel()
		return nil, err
	}
	p.wg.Go(func() { p.work(ctx, w) })
	return p, nil
}

// work takes turns on all ports until nothing moves, and then waits.
func (p *inProcess) work(ctx context.Context, w *vswitch.Worker) {
	start := time.Now()
	for ctx.Err() == nil {
		p.sw.Tick(uint32(time.Since(start).Seconds()))
		for moved := true; moved; {
			moved = p.receive(w)
			for _, port := range p.sw.Ports() {
				n, err := w.Turn(port) // an error means the port is going away
				moved = moved || n > 0 && err == nil
			}
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		}
	}
}

func (p *inProcess) signal() {
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (p *inProcess) label() string { return "in-process hosts" }

func (p *inProcess) network(_ context.Context, name string, subnet netip.Prefix) error {
	d, err := p.domain(name, subnet)
	if err != nil {
		return err
	}
	return p.lead(name, d, subnet.Addr().Next())
}

// domain makes a network without a way out.
func (p *inProcess) domain(name string, subnet netip.Prefix) (*vswitch.Domain, error) {
	gw := subnet.Addr().Next()
	d, err := p.sw.AddDomain(vswitch.DomainConfig{Name: name, GatewayMAC: frame.MAC(macFor(gw)), Gateways: []netip.Addr{gw}})
	if err != nil {
		return nil, err
	}
	p.networks[name], p.next[name] = d, gw.Next()
	return d, nil
}

func (p *inProcess) start(ctx context.Context, host, network string) error {
	h, err := p.bare(ctx, host, network)
	if err != nil {
		return err
	}
	ln, err := h.listen(port())
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	p.serve(func(ctx context.Context) { _ = nettool.Serve(ctx, ln, nil, io.Discard) })
	return nil
}

// bare starts a host that serves nothing.
func (p *inProcess) bare(ctx context.Context, host, network string) (*netHost, error) {
	h, err := newNetHost()
	if err != nil {
		return nil, err
	}
	p.hosts[host], p.ports[host] = h, map[string]*vswitch.Port{}
	return h, p.connect(ctx, network, host)
}

// serve runs a server until close.
func (p *inProcess) serve(run func(ctx context.Context)) {
	serving, stop := context.WithCancel(context.Background())
	before := p.cancel
	p.cancel = func() { stop(); before() }
	p.wg.Go(func() { run(serving) })
}

func port() uint16 {
	n, err := strconv.ParseUint(nettool.DefaultPort, 10, 16)
	if err != nil {
		panic(err) // a constant
	}
	return uint16(n)
}

// host returns a host by its name.
func (p *inProcess) host(name string) (*netHost, error) {
	if h := p.hosts[name]; h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("no host %q", name)
}

func (p *inProcess) connect(_ context.Context, network, host string) error {
	h, err := p.host(host)
	if err != nil {
		return err
	}
	d := p.networks[network]
	if d == nil {
		return fmt.Errorf("no network %q", network)
	}
	a := p.next[network]
	p.next[network] = a.Next()
	mac := macFor(a)
	cable := newNICPort(mac, p.signal)
	n := nic{network: network, mac: mac, addr: netip.PrefixFrom(a, subnet(network).Bits()), leads: p.exits[network] != nil, port: cable}
	if err := h.attach(n); err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	vp, err := p.sw.AddPort(vswitch.PortConfig{Name: host + ":" + network, Domain: d, MAC: frame.MAC(mac), Addrs: []netip.Addr{a}, MTU: 1500}, cable)
	if err != nil {
		return err
	}
	p.ports[host][network] = vp
	return d.Neighbours().SetStatic(a, frame.MAC(mac))
}

func (p *inProcess) disconnect(_ context.Context, network, host string) error {
	h, err := p.host(host)
	if err != nil {
		return err
	}
	n, err := h.detach(network)
	if err != nil {
		return fmt.Errorf("%s on %s: %w", host, network, err)
	}
	p.sw.RemovePort(p.ports[host][network])
	delete(p.ports[host], network)
	p.networks[network].Neighbours().Remove(n.addr.Addr())
	n.port.close()
	return nil
}

func (p *inProcess) links(_ context.Context, host string) ([]link, error) {
	h, err := p.host(host)
	if err != nil {
		return nil, err
	}
	var ls []link
	for _, n := range h.nics {
		ls = append(ls, link{name: n.name, mac: n.mac.String(), addrs: []netip.Prefix{n.addr}})
	}
	return ls, nil
}

func (p *inProcess) ping(ctx context.Context, host string, to netip.Addr, count int) (nettool.PingResult, error) {
	h, err := p.host(host)
	if err != nil {
		return nettool.PingResult{}, err
	}
	conn, err := h.pingSocket()
	if err != nil {
		return nettool.PingResult{}, err
	}
	defer conn.Close()
	o := nettool.PingOptions{To: to, Name: to.String(), Count: count, Interval: pingInterval, Timeout: pingTimeout, Size: 56}
	return nettool.PingOver(ctx, conn, &net.UDPAddr{IP: to.AsSlice()}, o, io.Discard)
}

func (p *inProcess) send(ctx context.Context, host string, to netip.Addr, n uint64, verify bool) (nettool.Transfer, error) {
	h, err := p.host(host)
	if err != nil {
		return nettool.Transfer{}, err
	}
	dial := func() (net.Conn, error) { return h.dial(ctx, netip.AddrPortFrom(to, port())) }
	return nettool.SendStreams(ctx, dial, 1, n, verify)
}

func (p *inProcess) forge(_ context.Context, host string, src, dst netip.Addr, count int) error {
	h, err := p.host(host)
	if err != nil {
		return err
	}
	n := h.nics[0]
	for i := range count {
		f := append(append([]byte(nil), macFor(dst)...), n.mac...)
		f = append(f, frame.EtherIPv4>>8, frame.EtherIPv4&0xff)
		n.port.inject(append(f, nettool.ForgedEcho(src, dst, uint16(i+1))...))
	}
	return nil
}

func (p *inProcess) drops(_ context.Context, host string) (map[string]uint64, error) {
	if _, err := p.host(host); err != nil {
		return nil, err
	}
	sum := map[string]uint64{}
	for _, vp := range p.ports[host] {
		s := vp.Stats()
		for r, n := range s.Dropped {
			if n > 0 {
				sum[frame.Reason(r).String()] += n
			}
		}
	}
	return sum, nil
}

func (p *inProcess) capture(ctx context.Context, host, filter, file string, during func() error) error {
	f, err := capture.ParseFilter(filter)
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	ring := capture.NewRing(1<<20, f, 0)
	names := map[uint32]string{}
	for _, vp := range p.ports[host] {
		names[vp.Serial()] = vp.Name()
		vp.Capture(ring, capture.Before|capture.After)
		defer vp.Uncapture(ring)
	}
	done := make(chan error, 1)
	s := &capture.Stream{Ring: ring, Name: func(port uint32) string { return names[port] }, Appl: "weft demo"}
	go func() { done <- s.Run(ctx, out) }()
	err = during()
	time.Sleep(settle)
	ring.Close()
	return errors.Join(err, <-done)
}

func (p *inProcess) close(context.Context) error {
	p.leave()
	p.cancel()
	p.signal()
	p.wg.Wait()
	var errs []error
	for _, x := range p.exits {
		errs = append(errs, x.close(p.sw))
	}
	for _, h := range p.hosts {
		for _, n := range h.nics {
			n.port.close()
		}
		h.close()
	}
	return errors.Join(errs...)
}
