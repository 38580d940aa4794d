package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// A swarmer is a member whose node can be in a swarm.
type swarmer interface {
	member
	// swarmInit makes a swarm of this node; the token lets others in.
	swarmInit(ctx context.Context) (token string, err error)
	swarmJoin(ctx context.Context, token string, manager netip.AddrPort) error
	// agree makes a network of the swarm; knows waits until it is known here.
	agree(ctx context.Context, name string, subnet netip.Prefix) error
	knows(ctx context.Context, name string) error
	// states returns what the swarm knows of each node's life, by name.
	states(ctx context.Context) (map[string]string, error)
	// static says behind which port of a network each MAC address is bound.
	static(ctx context.Context, network string) (map[string]string, error)
	// kill ends the node's daemon at once, as a crash does.
	kill() error
}

// agreed is the network that a swarm has agreed on.
const agreed = "agreed"

// swarmSteps returns the chapter in which the three nodes become a swarm. Hosts in
// this process have no daemons that could.
func swarmSteps() []step {
	return []step{
		{"The three become a swarm", "One command on the first, one with its token on each of the others.", becomeSwarm},
		{"A network that nobody is told the peers of", "Made on the second node; the managers choose its VNI and give addresses in turn.", agreeOnNetwork},
		{"Known before the first packet", "Every node has the others' hosts bound to their VTEPs: nothing is flooded, nobody is asked for.", knownBefore},
		{"A node dies and returns", "Its daemon is killed. The others forget its host, and know it again when the daemon is back.", nodeDies},
	}
}

// swarmerOn returns the i-th node.
func (t *tour) swarmerOn(i int) (*tour, swarmer, error) {
	there, n, err := t.on(i)
	if err != nil {
		return nil, nil, err
	}
	s, ok := n.(swarmer)
	if !ok {
		return nil, nil, fmt.Errorf("node %d cannot be in a swarm", i+1)
	}
	return there, s, nil
}

func becomeSwarm(ctx context.Context, t *tour) (string, error) {
	began := time.Now()
	_, first, err := t.swarmerOn(0)
	if err != nil {
		return "", err
	}
	token, err := first.swarmInit(ctx)
	for i := 1; i < nodes && err == nil; i++ {
		var n swarmer
		if _, n, err = t.swarmerOn(i); err == nil {
			err = n.swarmJoin(ctx, token, netip.AddrPortFrom(underlay(0), t.controlPort()))
		}
	}
	if err != nil {
		return "", err
	}
	took := time.Since(began).Round(time.Millisecond)
	var states map[string]string
	err = eventually(ctx, func() (err error) {
		if states, err = first.states(ctx); err != nil {
			return err
		}
		for i := range nodes {
			if s := states[nodeName(i)]; s != "ready" {
				return fmt.Errorf("%s is %q", nodeName(i), s)
			}
		}
		return nil
	})
	return fmt.Sprintf("one swarm after %v: %s, %s and %s are ready", took, nodeName(0), nodeName(1), nodeName(2)), err
}

func nodeName(i int) string { return fmt.Sprintf("node%d", i+1) }

// demoHost names the host on the i-th node, on the network agreed on.
func demoHost(i int) string { return fmt.Sprintf("demo%d", i+1) }

func agreeOnNetwork(ctx context.Context, t *tour) (string, error) {
	_, second, err := t.swarmerOn(1)
	if err != nil {
		return "", err
	}
	if err := second.agree(ctx, agreed, subnet(agreed)); err != nil {
		return "", err
	}
	var proof []string
	for i := range nodes {
		there, n, err := t.swarmerOn(i)
		if err == nil {
			err = n.knows(ctx, agreed)
		}
		if err == nil {
			err = there.start(ctx, demoHost(i), agreed)
		}
		if err != nil {
			return strings.Join(proof, "\n"), err
		}
		a, err := there.addr(ctx, demoHost(i), agreed)
		if err != nil {
			return strings.Join(proof, "\n"), err
		}
		proof = append(proof, fmt.Sprintf("%s on %s: %s", demoHost(i), nodeName(i), a))
		if want := agreedAddr(i); a != want {
			return strings.Join(proof, "\n"), fmt.Errorf("%s got %s, want %s", demoHost(i), a, want)
		}
	}
	return strings.Join(proof, "\n"), nil
}

// agreedAddr is the address of the host on the i-th node: they come in turn, behind
// the gateway's.
func agreedAddr(i int) netip.Addr {
	a := subnet(agreed).Addr().As4()
	a[3] = byte(i + 2)
	return netip.AddrFrom4(a)
}

// bound wants the hosts of other nodes in the i-th node's table.
func (t *tour) bound(ctx context.Context, i int) (proof []string, err error) {
	_, n, err := t.swarmerOn(i)
	if err != nil {
		return nil, err
	}
	err = eventually(ctx, func() error {
		table, err := n.static(ctx, agreed)
		if err != nil {
			return err
		}
		proof = nil
		for j := range nodes {
			mac, want := macOf(agreedAddr(j)), agreed+"@"+t.vtep(j).String()
			if j == i {
				continue
			}
			if table[mac] != want {
				return fmt.Errorf("%s has %s of %s at %q, want %s", nodeName(i), mac, demoHost(j), table[mac], want)
			}
			proof = append(proof, fmt.Sprintf("%s: %s of %s is bound to %s", nodeName(i), mac, demoHost(j), want))
		}
		return nil
	})
	return proof, err
}

// macOf is the MAC that follows from an address, as Docker's.
func macOf(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

func knownBefore(ctx context.Context, t *tour) (string, error) {
	var proof []string
	for i := range nodes {
		lines, err := t.bound(ctx, i)
		proof = append(proof, lines...)
		if err != nil {
			return strings.Join(proof, "\n"), err
		}
	}
	for from := range nodes {
		there, _, err := t.on(from)
		if err != nil {
			return "", err
		}
		for to := range nodes {
			if from == to {
				continue
			}
			line, err := there.reach(ctx, demoHost(from), agreedAddr(to), 2)
			if err != nil {
				return strings.Join(proof, "\n"), err
			}
			proof = append(proof, line)
		}
	}
	return strings.Join(proof, "\n"), nil
}

func nodeDies(ctx context.Context, t *tour) (string, error) {
	const last = nodes - 1
	there, first, err := t.swarmerOn(0)
	if err != nil {
		return "", err
	}
	_, gone, err := t.swarmerOn(last)
	if err != nil {
		return "", err
	}
	if err := gone.kill(); err != nil {
		return "", err
	}
	began := time.Now()
	err = eventually(ctx, func() error {
		states, err := first.states(ctx)
		table, err2 := first.static(ctx, agreed)
		switch {
		case err != nil || err2 != nil:
			return errors.Join(err, err2)
		case states[nodeName(last)] != "down":
			return fmt.Errorf("%s is %q", nodeName(last), states[nodeName(last)])
		case table[macOf(agreedAddr(last))] != "":
			return fmt.Errorf("%s is still bound", demoHost(last))
		}
		return nil
	})
	proof := fmt.Sprintf("%s is down and %s forgotten after %v", nodeName(last), demoHost(last), time.Since(began).Round(100*time.Millisecond))
	if err := errors.Join(err, gone.resume(ctx)); err != nil {
		return proof, err
	}
	began = time.Now()
	var back string
	err = eventually(ctx, func() (err error) { back, err = there.reach(ctx, demoHost(0), agreedAddr(last), 2); return err })
	return fmt.Sprintf("%s\nthe daemon is back, and after %v:\n%s", proof, time.Since(began).Round(100*time.Millisecond), back), err
}
