package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// rotations is how often keys are made anew under load.
const rotations = 3

func rekeyed(ctx context.Context, t *tour) (string, error) {
	_, one, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	before, err := t.onTheVault(ctx)
	if err != nil {
		return "", err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	enough, done := make(chan struct{}), make(chan error, 1)
	transfers := 0 // written by the goroutine, read when it is done
	go func() {    // ends when there is enough, or with ctx
		var err error
		for err == nil {
			if _, err = t.sealedTransfer(ctx); err == nil {
				transfers++
			}
			select {
			case <-enough:
				done <- err
				return
			case <-ctx.Done():
				err = ctx.Err()
			default:
			}
		}
		done <- err
	}()
	var proof []string
	for range rotations {
		line, e := t.rotated(ctx, one)
		if proof = append(proof, line); e != nil {
			stop()
			<-done
			return strings.Join(proof, "\n"), e
		}
	}
	close(enough)
	if err := <-done; err != nil {
		return strings.Join(proof, "\n"), err
	}
	proof = append(proof, fmt.Sprintf("meanwhile %d verified transfers of %d MB from %s to %s", transfers, t.hashed>>20, safe(0), safe(1)))
	line, err := t.nothingLost(ctx, before)
	return strings.Join(append(proof, line), "\n"), err
}

// A vaultCount is what nodes 1 and 2 sent each other on the vault, what came, what there
// was no key for, and what the kernel had no room for.
type vaultCount struct{ sent, came, keyless, kernel uint64 }

func (t *tour) onTheVault(ctx context.Context) (c vaultCount, err error) {
	for i := range 2 {
		_, n, err := t.inSwarm(i)
		if err != nil {
			return c, err
		}
		by, kernel, err := n.carried(ctx, vault)
		if err != nil {
			return c, err
		}
		tunnels, err := n.tunnels(ctx, vault)
		if err != nil {
			return c, err
		}
		other := t.swarm.vtep(1 - i)
		c.sent, c.came, c.kernel = c.sent+by[other].tx, c.came+by[other].rx, c.kernel+kernel
		c.keyless += tunnels[other]["no-key"]
	}
	return c, nil
}

// nothingLost wants all that was sent on the vault since a count to have come, but for
// what a full receive buffer cost.
func (t *tour) nothingLost(ctx context.Context, before vaultCount) (line string, err error) {
	var sent, lost, keyless, kernel uint64
	err = eventually(ctx, func() error {
		now, err := t.onTheVault(ctx)
		if err != nil {
			return err
		}
		sent, keyless, kernel = now.sent-before.sent, now.keyless-before.keyless, now.kernel-before.kernel
		lost = sent - (now.came - before.came)
		switch {
		case sent == 0:
			return errors.New("no packets were counted")
		case keyless > 0:
			return fmt.Errorf("for %d packets there was no key", keyless)
		case lost > 0 && kernel == 0:
			return fmt.Errorf("%d of %d packets did not come", lost, sent)
		}
		return nil
	})
	line = fmt.Sprintf("%d packets sent on the vault between nodes 1 and 2, %d lost, %d without a key", sent, lost, keyless)
	if kernel > 0 {
		line += fmt.Sprintf("; %d messages found the kernel's receive buffer full, which has nothing to do with keys", kernel)
	}
	return line, err
}

// rotated makes new keys, and waits until nodes 1 and 2 send by them to each other.
func (t *tour) rotated(ctx context.Context, one swarmNode) (string, error) {
	was, err := t.sendsBy(ctx, 0, 1)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := one.rotate(ctx); err != nil {
		return "", err
	}
	var now uint64
	err = eventually(ctx, func() error {
		there, err1 := t.sendsBy(ctx, 0, 1)
		back, err2 := t.sendsBy(ctx, 1, 0)
		if now = min(there, back); now <= was {
			return errors.Join(err1, err2, fmt.Errorf("nodes 1 and 2 send by the keys of epochs %d and %d, want later ones than of %d", there, back, was))
		}
		return nil
	})
	return fmt.Sprintf("epoch %d after %v", now, time.Since(start).Round(time.Millisecond)), err
}

// sendsBy returns the epoch of the keys that one node sends to another by.
func (t *tour) sendsBy(ctx context.Context, from, to int) (uint64, error) {
	_, n, err := t.inSwarm(from)
	if err != nil {
		return 0, err
	}
	rings, _, err := n.keys(ctx)
	if err != nil {
		return 0, err
	}
	at := netip.AddrPortFrom(underlay(to), t.swarm.ports.esp).String()
	for _, k := range rings {
		for _, p := range k.Peers {
			for _, x := range p.Pairs {
				if p.VTEP == at && x.State == "sending" {
					return x.Epoch, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("node %d has no keys to send by to node %d", from+1, to+1)
}
