package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"weft/internal/api"
	"weft/internal/nettool"
)

// waySteps returns the chapter of the way out and in. fern is on front and has its
// ports published, moss is on a network that leads nowhere.
func waySteps() []step {
	return []step{
		{"A way out", "The tour has a web server on this machine's loopback. With --host-loopback a network's gateway stands for that, so that no other address is needed.", wayOut},
		{"Refused, or out of reach", "What cannot be reached is told as it is, at once: nothing is accepted that then fails.", toldApart},
		{"A published port", "A process of this machine, the tour, reaches a sandbox by TCP and by UDP, at the one address that was named.", published},
		{"An internal network", "The same fetch where a network has no way out: no default route, and nobody behind the gateway's address.", ledNowhere},
	}
}

func gateway(network string) netip.Addr { return subnet(network).Addr().Next() }

// patience is how long a fetch waits in vain.
const patience = 5 * time.Second

func wayOut(ctx context.Context, t *tour) (string, error) {
	var err error
	if t.outside, err = openHostWeb(); err != nil {
		return "", err
	}
	to := netip.AddrPortFrom(gateway(front), t.outside.port)
	rose, err := t.addr(ctx, "rose", front)
	if err != nil {
		return "", err
	}
	var client netip.AddrPort
	var flows []api.Flow
	var table string
	var looked error
	t.outside.watch(func(c netip.AddrPort) { client = c; flows, table, looked = t.flows(ctx, "rose") })
	text, err := t.fetch(ctx, "rose", t.outside.at(gateway(front)), patience)
	t.outside.watch(nil)
	if err = errors.Join(err, looked); err != nil {
		return "", err
	}
	if text != words {
		return "", fmt.Errorf("rose got %q, want %q", text, words)
	}
	proof := fmt.Sprintf("rose got %q from 127.0.0.1:%d, which was asked by %s\n%s", strings.TrimSpace(text), t.outside.port, client, table)
	if !client.Addr().IsLoopback() {
		return proof, fmt.Errorf("the server was asked by %s, want a socket of the daemon on the loopback", client)
	}
	for _, f := range flows {
		if f.Proto == "tcp" && f.State == "established" && f.Endpoint.Addr() == rose && f.Remote == to && !f.Published.IsValid() {
			return proof, nil
		}
	}
	return proof, fmt.Errorf("while the answer was held, no connection of rose (%s) to %s was listed", rose, to)
}

func toldApart(ctx context.Context, t *tour) (string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	unheard := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	_ = ln.Close() // nobody listens there now
	tulip, err := t.addr(ctx, "tulip", back)
	if err != nil {
		return "", err
	}
	first, err := t.notFetched(ctx, "rose", fmt.Sprintf("http://%s/", netip.AddrPortFrom(gateway(front), unheard)), patience, nettool.ErrRefused)
	if err != nil {
		return "", err
	}
	// It is the daemon's own kernel that would route it, to anywhere.
	second, err := t.notFetched(ctx, "rose", fmt.Sprintf("http://%s:%s/", tulip, nettool.DefaultPort), patience, nettool.ErrUnreachable)
	return first + ": nobody listens there\n" + second + ": tulip is on another network, and what is inside never leaves", err
}

// notFetched fetches and wants one kind of failure.
func (t *tour) notFetched(ctx context.Context, host, url string, timeout time.Duration, want error) (string, error) {
	start := time.Now()
	text, err := t.fetch(ctx, host, url, timeout)
	if err == nil {
		return "", fmt.Errorf("%s got %q from %s, which it must not reach", host, text, url)
	}
	if !errors.Is(err, want) {
		return "", fmt.Errorf("%s from %s: want %q, found: %w", host, url, want, err)
	}
	return fmt.Sprintf("%s → %s: %v after %v", host, url, want, time.Since(start).Round(time.Millisecond)), nil
}

func ledNowhere(ctx context.Context, t *tour) (string, error) {
	if err := t.inner(ctx, inner, subnet(inner)); err != nil {
		return "", err
	}
	if err := t.start(ctx, "moss", inner); err != nil {
		return "", err
	}
	if t.outside == nil {
		return "", errors.New("the tour's web server is not there")
	}
	asked := t.outside.requests()
	// An address for documentation (RFC 5737): nobody's, wherever this runs.
	away := netip.AddrFrom4([4]byte{198, 51, 100, 1})
	first, err := t.notFetched(ctx, "moss", t.outside.at(away), patience, nettool.ErrUnreachable)
	if err != nil {
		return "", err
	}
	const reason = "gateway-unserved"
	before, err := t.drops(ctx, "moss")
	if err != nil {
		return "", err
	}
	second, err := t.notFetched(ctx, "moss", t.outside.at(gateway(inner)), settle, nettool.ErrNoAnswer)
	if err != nil {
		return "", err
	}
	after, err := t.drops(ctx, "moss")
	if err != nil {
		return "", err
	}
	flows, _, err := t.flows(ctx, "moss")
	if err != nil {
		return "", err
	}
	dropped, asked := after[reason]-before[reason], t.outside.requests()-asked
	proof := fmt.Sprintf("%s: it has no default route\n%s: dropped, %s +%d\nconnections of moss by a way out: %d; the server was asked by it %d times", first, second, reason, dropped, len(flows), asked)
	if dropped == 0 || len(flows) > 0 || asked > 0 {
		return proof, errors.New("want drops, no connection, and no request")
	}
	return proof, nil
}
