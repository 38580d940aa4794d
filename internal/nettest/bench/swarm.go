package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// What is measured of a swarm of three daemons, at 127.0.0.1 to 127.0.0.3.
var (
	figForm     = figure{"swarm-form", "swarm: init, two joins, a network, three sandboxes, until each reaches each", "s", 2, true}
	figAttach   = figure{"swarm-attach", "swarm: a running sandbox of a worker joins its overlay", "ms", 1, true}
	figLocal    = figure{"swarm-attach-bridge", "the same, a bridge network", "ms", 1, true}
	figKnown    = figure{"swarm-known", "swarm: from that request until another node's switch knows it, median", "ms", 1, true}
	figKnownP99 = figure{"swarm-known-p99", "the same, 99th percentile", "ms", 1, true}
	figLeader   = figure{"swarm-leader", "swarm: leader of three killed, until the next address is given", "s", 2, true}
	figLost     = figure{"swarm-lost", "the same, datagrams lost between the other two meanwhile", "of 10,000", 0, true}
)

const (
	swarmPart    = "swarm" // in -only
	swarmNodes   = 3
	attachRounds = 100
	swarmOverlay = "front"
	swarmBridge  = "local"
	pollEvery    = time.Millisecond
)

// swarmBench are three daemons in one swarm.
type swarmBench struct {
	nodes   [swarmNodes]weftNode
	clients [swarmNodes]*client.Client
}

// swarm takes the measurements of a swarm.
func (b *bench) swarm(ctx context.Context, r *results) (err error) {
	s := new(swarmBench)
	for i := range s.nodes {
		addr := fmt.Sprintf("127.0.0.%d", i+1)
		s.nodes[i] = b.node(fmt.Sprintf("swarm%d", i+1))
		s.nodes[i].flags = append(s.nodes[i].flags, "--node-name", fmt.Sprintf("node%d", i+1), "--advertise-addr", addr, "--data-path-addr", addr)
	}
	defer func() { err = errors.Join(err, s.down()) }()
	for i := range s.nodes {
		if err := s.nodes[i].start(ctx); err != nil {
			return err
		}
		if s.clients[i], err = client.New(client.WithHost("unix://" + s.nodes[i].socket())); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		title string
		take  func(context.Context, *bench, *results) error
	}{
		{"made", s.form}, {"attaching", s.attach}, {"the leader killed", s.leader},
	} {
		b.progress("swarm: %s", step.title)
		if err := step.take(ctx, b, r); err != nil {
			return fmt.Errorf("swarm: %s: %w", step.title, err)
		}
	}
	return nil
}

func (s *swarmBench) down() (err error) {
	for i := range s.nodes {
		if s.clients[i] != nil {
			s.clients[i].Close()
		}
		err = errors.Join(err, s.nodes[i].down())
	}
	return err
}

// form makes the swarm and has all its sandboxes reach each other.
func (s *swarmBench) form(ctx context.Context, _ *bench, r *results) error {
	start := time.Now()
	if _, err := s.nodes[0].tell(ctx, "swarm", "init"); err != nil {
		return err
	}
	token, err := s.nodes[0].tell(ctx, "swarm", "join-token", "-q", "manager")
	if err != nil {
		return err
	}
	for i := 1; i < swarmNodes; i++ {
		if _, err := s.nodes[i].tell(ctx, "swarm", "join", "--token", token, "127.0.0.1"); err != nil {
			return err
		}
	}
	if _, err := s.nodes[1].tell(ctx, "network", "create", "-d", "overlay", "--subnet", "10.0.1.0/24", swarmOverlay); err != nil {
		return err
	}
	for i := range s.nodes {
		if err := waitFor(func() bool {
			_, err := s.clients[i].NetworkInspect(ctx, swarmOverlay, client.NetworkInspectOptions{})
			return err == nil
		}); err != nil {
			return err
		}
		if _, err := s.nodes[i].tell(ctx, "run", "-d", "--name", "demo", "--network", swarmOverlay, "--", "sleep", "86400"); err != nil {
			return err
		}
	}
	for i := range s.nodes {
		for j := range s.nodes {
			if err := waitFor(func() bool { return i == j || s.reaches(ctx, i, j) }); err != nil {
				return fmt.Errorf("node %d does not reach node %d: %w", i+1, j+1, err)
			}
		}
	}
	r.note(nil, figForm, "weft", time.Since(start).Seconds())
	return nil
}

// reaches has the sandbox of one node ping that of another, by the addresses that
// are given in turn.
func (s *swarmBench) reaches(ctx context.Context, from, to int) bool {
	return s.nodes[from].inside(ctx, "demo", "ping", "-c1", "-W1", fmt.Sprintf("10.0.1.%d", to+2)).Run() == nil
}

// attach connects a sandbox of the last node to the overlay, again and again, and
// looks when the first node knows.
func (s *swarmBench) attach(ctx context.Context, _ *bench, r *results) error {
	last, far := s.clients[swarmNodes-1], &s.nodes[0]
	// Nobody leads on a worker.
	if _, err := s.nodes[0].tell(ctx, "node", "demote", fmt.Sprintf("node%d", swarmNodes)); err != nil {
		return err
	}
	if err := waitFor(func() bool {
		i, err := last.Info(ctx, client.InfoOptions{})
		return err == nil && !i.Info.Swarm.ControlAvailable
	}); err != nil {
		return err
	}
	node := &s.nodes[swarmNodes-1]
	if _, err := node.tell(ctx, "network", "create", swarmBridge); err != nil {
		return err
	}
	if _, err := node.tell(ctx, "run", "-d", "--name", "guest", "--", "sleep", "86400"); err != nil {
		return err
	}
	var known []float64
	for i := range attachRounds {
		addr := fmt.Sprintf("10.0.1.%d", 100+i)
		took, heard, err := connect(ctx, last, swarmOverlay, addr, far)
		if err != nil {
			return err
		}
		r.note(nil, figAttach, "weft", took)
		local, _, err := connect(ctx, last, swarmBridge, "", nil)
		if err != nil {
			return err
		}
		r.note(nil, figLocal, "weft", local)
		known = append(known, heard)
		r.note(nil, figKnown, "weft", heard)
	}
	r.note(nil, figKnownP99, "weft", percentile(known, 99))
	_, err := s.nodes[0].tell(ctx, "node", "promote", fmt.Sprintf("node%d", swarmNodes))
	return err
}

// connect connects the guest to a network and disconnects it. It returns how long
// the request took and, of an address that was asked for, when the switch of far
// had it, counted from the request's begin; both in ms.
func connect(ctx context.Context, c *client.Client, name, addr string, far *weftNode) (took, heard float64, err error) {
	o := client.NetworkConnectOptions{Container: "guest"}
	seen := make(chan time.Time, 1)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if addr != "" {
		a := netip.MustParseAddr(addr)
		o.EndpointConfig = &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: a}}
		go watch(ctx, far, name, a, seen)
	}
	start := time.Now()
	if _, err := c.NetworkConnect(ctx, name, o); err != nil {
		return 0, 0, err
	}
	took = ms(time.Since(start))
	if addr != "" {
		select {
		case at := <-seen:
			heard = ms(at.Sub(start))
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("%s is not known elsewhere after 10 s", addr)
		}
	}
	_, err = c.NetworkDisconnect(ctx, name, client.NetworkDisconnectOptions{Container: "guest"})
	return took, heard, err
}

// watch looks until a node's switch has a neighbour.
func watch(ctx context.Context, far *weftNode, name string, a netip.Addr, seen chan<- time.Time) {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", far.socket())
	}}
	defer t.CloseIdleConnections()
	for ctx.Err() == nil {
		list, err := neighbours(ctx, &http.Client{Transport: t}, name)
		if err == nil && slices.Contains(list, a) {
			seen <- time.Now()
			return
		}
		time.Sleep(pollEvery)
	}
}

// neighbours asks a daemon whom its switch knows on a network.
func neighbours(ctx context.Context, c *http.Client, network string) (list []netip.Addr, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weft.localhost/weft/v1/arp?network="+network, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var rows []struct{ Addr netip.Addr }
	err = json.NewDecoder(resp.Body).Decode(&rows)
	for _, r := range rows {
		list = append(list, r.Addr)
	}
	return list, err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// percentile returns the smallest value that p of a hundred do not exceed.
func percentile(values []float64, p int) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[(len(s)*p+99)/100-1]
}

// leader kills the leader's daemon, has another node give an address, and counts
// what the other two sandboxes lose of a steady stream meanwhile.
func (s *swarmBench) leader(ctx context.Context, _ *bench, r *results) (err error) {
	if err := waitFor(func() bool { return s.managers(ctx) == swarmNodes }); err != nil {
		return fmt.Errorf("three managers: %w", err)
	}
	leads, err := s.leading(ctx)
	if err != nil {
		return err
	}
	one, two := (leads+1)%swarmNodes, (leads+2)%swarmNodes
	server := s.nodes[two].inside(ctx, "demo", "iperf3", "-s", "-1")
	if err := server.Start(); err != nil {
		return err
	}
	defer end(server)
	time.Sleep(400 * time.Millisecond)
	lost := make(chan float64, 1)
	failed := make(chan error, 1)
	go func() {
		n, err := s.stream(ctx, one, two)
		lost <- n
		failed <- err
	}()
	time.Sleep(3 * time.Second)
	s.nodes[leads].daemon.Process.Kill()
	// Its sandbox ends with its successor.
	defer func() {
		end(s.nodes[leads].daemon)
		err = errors.Join(err, s.nodes[leads].restart(ctx))
	}()
	start := time.Now()
	for {
		_, err := s.nodes[one].tell(ctx, "run", "--rm", "--network", swarmOverlay, "--", "true")
		if err == nil {
			break
		}
		if ctx.Err() != nil || time.Since(start) > time.Minute {
			return err
		}
	}
	r.note(nil, figLeader, "weft", time.Since(start).Seconds())
	if err := <-failed; err != nil {
		return err
	}
	r.note(nil, figLost, "weft", <-lost)
	return nil
}

// stream sends 1,000 datagrams a second for ten seconds from one node's sandbox to
// another's and returns how many were lost.
func (s *swarmBench) stream(ctx context.Context, from, to int) (float64, error) {
	out, err := s.nodes[from].inside(ctx, "demo", "iperf3", "-J", "-u", "-l", "1000", "-b", "8M", "-t", "10", "-c", fmt.Sprintf("10.0.1.%d", to+2)).Output()
	var result iperf
	switch e := json.Unmarshal(out, &result); {
	case e != nil:
		return 0, fmt.Errorf("iperf3: %w (%w)", err, e)
	case result.Error != "" || result.End.Sum.Packets == 0:
		return 0, fmt.Errorf("iperf3: %q, %.0f datagrams", result.Error, result.End.Sum.Packets)
	}
	return result.End.Sum.Lost, nil
}

// managers counts the managers that vote.
func (s *swarmBench) managers(ctx context.Context) int {
	out, err := s.nodes[0].tell(ctx, "node", "ls", "--format", "{{.Role}}")
	if err != nil {
		return 0
	}
	return strings.Count(out, "voter")
}

func (s *swarmBench) leading(ctx context.Context) (int, error) {
	out, err := s.nodes[0].tell(ctx, "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
	if err != nil {
		return 0, err
	}
	for i := range s.nodes {
		if strings.Contains(out, fmt.Sprintf("node%d Leader", i+1)) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("nobody leads: %s", out)
}
