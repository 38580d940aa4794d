package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// steps returns the tour. rose and iris are on front, tulip and lily on back.
func steps() []step {
	return []step{
		{"Two networks", "Networks are made without root and without a kernel bridge.", twoNetworks},
		{"Hosts on both", "Each host has an interface with an address of its network, given in order behind the gateway.", hosts},
		{"Ping inside a network", "The switch answers ARP from its table and forwards.", pingInside},
		{"The gateway answers", "It is the switch itself: nobody else is at this address.", pingGateway},
		{"A verified transfer", "TCP, as superframes, every byte accounted for by SHA-256 on both ends.", transfer},
		{"Isolation", "Hosts of another network are alive, and cannot be reached.", isolation},
		{"A network plugged in", "A running host gets a second interface and reaches its new neighbours.", plugIn},
		{"A network unplugged", "The interface goes while the host runs, and its neighbours are out of reach again.", unplug},
		{"A forged source", "The guard drops packets in another host's name, and counts them.", forged},
		{"A capture", "What crosses the switch is captured live, with directions, and decoded.", captured},
		{"A replay", "The captured frames run through a switch described by a file, twice, with the same result to the byte.", replayed},
		{"Throughput", "One TCP stream through guard, learning, counters and forwarding.", throughput},
	}
}

func twoNetworks(ctx context.Context, t *tour) (string, error) {
	var made []string
	for _, n := range []string{front, back} {
		if err := t.network(ctx, n, subnet(n)); err != nil {
			return "", err
		}
		made = append(made, fmt.Sprintf("%s %s", n, subnet(n)))
	}
	return strings.Join(made, "\n"), nil
}

func hosts(ctx context.Context, t *tour) (string, error) {
	var proof []string
	for _, h := range []struct{ host, network string }{{"rose", front}, {"iris", front}, {"tulip", back}, {"lily", back}} {
		if err := t.start(ctx, h.host, h.network); err != nil {
			return "", err
		}
		ls, err := t.links(ctx, h.host)
		if err != nil {
			return "", err
		}
		if len(ls) != 1 || ls[0].name != "eth0" {
			return "", fmt.Errorf("%s has %v, want eth0 alone", h.host, ls)
		}
		a, err := t.addr(ctx, h.host, h.network)
		if err != nil {
			return "", err
		}
		proof = append(proof, fmt.Sprintf("%s: eth0 %s %s on %s", h.host, a, ls[0].mac, h.network))
	}
	return strings.Join(proof, "\n"), nil
}

func pingInside(ctx context.Context, t *tour) (string, error) {
	iris, err := t.addr(ctx, "iris", front)
	if err != nil {
		return "", err
	}
	return t.reach(ctx, "rose", iris, 3)
}

func pingGateway(ctx context.Context, t *tour) (string, error) {
	return t.reach(ctx, "rose", subnet(front).Addr().Next(), 3)
}

func transfer(ctx context.Context, t *tour) (string, error) {
	iris, err := t.addr(ctx, "iris", front)
	if err != nil {
		return "", err
	}
	r, err := t.send(ctx, "rose", iris, t.hashed, true)
	if err != nil {
		return "", err
	}
	if r.Bytes != t.hashed || r.Sum == [32]byte{} {
		return "", fmt.Errorf("%d bytes, sum %x, want %d bytes summed", r.Bytes, r.Sum, t.hashed)
	}
	return fmt.Sprintf("rose → iris: %s on both ends", r.String()), nil
}

func isolation(ctx context.Context, t *tour) (string, error) {
	tulip, err := t.addr(ctx, "tulip", back)
	if err != nil {
		return "", err
	}
	alive, err := t.reach(ctx, "lily", tulip, 2)
	if err != nil {
		return "", fmt.Errorf("tulip must be reachable in its own network first: %w", err)
	}
	cut, err := t.refused(ctx, "rose", tulip)
	if err != nil {
		return "", err
	}
	return alive + "\n" + cut, nil
}

func plugIn(ctx context.Context, t *tour) (string, error) {
	tulip, err := t.addr(ctx, "tulip", back)
	if err != nil {
		return "", err
	}
	if err := t.connect(ctx, back, "rose"); err != nil {
		return "", err
	}
	if err := t.wantLinks(ctx, "rose", "eth0", "eth1"); err != nil {
		return "", err
	}
	mine, err := t.addr(ctx, "rose", back)
	if err != nil {
		return "", err
	}
	reached, err := t.reach(ctx, "rose", tulip, 2)
	return fmt.Sprintf("rose has eth0 and eth1 %s\n%s", mine, reached), err
}

func unplug(ctx context.Context, t *tour) (string, error) {
	tulip, err := t.addr(ctx, "tulip", back)
	if err != nil {
		return "", err
	}
	if err := t.disconnect(ctx, back, "rose"); err != nil {
		return "", err
	}
	if err := t.wantLinks(ctx, "rose", "eth0"); err != nil {
		return "", err
	}
	cut, err := t.refused(ctx, "rose", tulip)
	if err != nil {
		return "", err
	}
	still, err := pingInside(ctx, t)
	return "rose has eth0\n" + cut + "\n" + still, err
}

// wantLinks compares a host's interfaces with names.
func (t *tour) wantLinks(ctx context.Context, host string, want ...string) error {
	ls, err := t.links(ctx, host)
	if err != nil {
		return err
	}
	var got []string
	for _, l := range ls {
		got = append(got, l.name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s has interfaces %v, want %v", host, got, want)
	}
	return nil
}

func forged(ctx context.Context, t *tour) (string, error) {
	iris, err := t.addr(ctx, "iris", front)
	if err != nil {
		return "", err
	}
	const reason, n = "spoofed-ip", 3
	before, err := t.drops(ctx, "rose")
	if err != nil {
		return "", err
	}
	other := netip.AddrFrom4([4]byte{10, 77, 1, 200})
	if err := t.forge(ctx, "rose", other, iris, n); err != nil {
		return "", err
	}
	for {
		after, err := t.drops(ctx, "rose")
		if err != nil {
			return "", err
		}
		got := after[reason] - before[reason]
		if got == n {
			return fmt.Sprintf("rose as %s → %s: %d packets, %s +%d", other, iris, n, reason, got), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("counter %s of rose grew by %d, want %d: %w", reason, got, n, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func throughput(ctx context.Context, t *tour) (string, error) {
	iris, err := t.addr(ctx, "iris", front)
	if err != nil {
		return "", err
	}
	r, err := t.send(ctx, "rose", iris, t.timed, false)
	if err != nil {
		return "", err
	}
	if r.Bytes != t.timed {
		return "", errors.New("not all bytes arrived")
	}
	return fmt.Sprintf("rose → iris: %s", r.String()), nil
}
