package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/api"
	"weft/internal/capture"
)

// The encrypted network of the swarm.
const vault = "vault"

// safe names the host that the i-th node has on it.
func safe(i int) string { return fmt.Sprintf("safe%d", i+1) }

func vaultUp(ctx context.Context, t *tour) (string, error) {
	_, worker, err := t.inSwarm(swarmNodes - 1)
	if err != nil {
		return "", err
	}
	if err := worker.vault(ctx, vault); err != nil {
		return "", err
	}
	for i := range swarmNodes {
		there, n, err := t.inSwarm(i)
		if err != nil {
			return "", err
		}
		err = eventually(ctx, func() error {
			if !n.knows(ctx, vault) {
				return fmt.Errorf("node %d does not have the network", i+1)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if err := there.start(ctx, safe(i), vault); err != nil {
			return "", err
		}
	}
	first, one, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	var proof []string
	for i := 1; i < swarmNodes; i++ {
		a, err := t.onlyAddr(ctx, i, safe(i))
		if err != nil {
			return "", err
		}
		var line string
		err = eventually(ctx, func() (err error) { line, err = first.reach(ctx, safe(0), a.Addr(), 2); return err })
		if err != nil {
			return strings.Join(proof, "\n"), err
		}
		proof = append(proof, line)
	}
	line, err := t.sealedTransfer(ctx)
	if err != nil {
		return strings.Join(proof, "\n"), err
	}
	rings, table, err := one.keys(ctx)
	proof = append(proof, line, "node1$ weft keys ls", strings.TrimSuffix(table, "\n"))
	if err == nil {
		err = t.sealedAll(rings)
	}
	return strings.Join(proof, "\n"), err
}

// sealedTransfer transfers from node 1 to node 2 on the vault.
func (t *tour) sealedTransfer(ctx context.Context) (string, error) {
	first, _, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	a, err := t.onlyAddr(ctx, 1, safe(1))
	if err != nil {
		return "", err
	}
	r, err := first.send(ctx, safe(0), a.Addr(), t.hashed, true)
	if err != nil {
		return "", err
	}
	if r.Bytes != t.hashed || r.Sum == [32]byte{} {
		return "", fmt.Errorf("%d bytes, sum %x, want %d bytes summed", r.Bytes, r.Sum, t.hashed)
	}
	return fmt.Sprintf("%s → %s: %s on both ends", safe(0), safe(1), r.String()), nil
}

// sealedAll wants node 1 to have keys with both others, and that what was transferred
// to node 2 was sealed by those.
func (t *tour) sealedAll(rings []api.KeyRing) error {
	if len(rings) != 1 || !slices.Equal(rings[0].Networks, []string{vault}) || len(rings[0].Peers) != swarmNodes-1 {
		return fmt.Errorf("node 1 has keys for %+v, want %s and %d peers", rings, vault, swarmNodes-1)
	}
	for _, p := range rings[0].Peers {
		var sealed uint64
		for _, x := range p.Pairs {
			sealed += x.TxBytes
		}
		at := netip.AddrPortFrom(underlay(1), t.swarm.ports.esp).String()
		switch {
		case !p.Ready:
			return fmt.Errorf("node 1 waits for %s to show that it has the keys", p.Name)
		case p.VTEP == at && sealed < t.hashed:
			return fmt.Errorf("node 1 has sealed %d bytes for %s, of which %d were transferred", sealed, p.Name, t.hashed)
		}
	}
	return nil
}

// An ear listens where a node did that is dead.
type ear struct {
	conn *net.UDPConn
	at   netip.AddrPort
}

func listen(at netip.AddrPort) (*ear, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("listen where a dead node did: %w", err)
	}
	return &ear{conn, at}, nil
}

// heard returns the datagrams that came.
func (e *ear) heard() (all [][]byte, err error) {
	b := make([]byte, 1<<16)
	if err := e.conn.SetReadDeadline(time.Now().Add(settle)); err != nil {
		return nil, err
	}
	for {
		n, err := e.conn.Read(b)
		switch {
		case err == nil:
			all = append(all, bytes.Clone(b[:n]))
		case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
			return all, nil
		default:
			return all, err
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// eavesdrop kills node 3, listens where it listened, and has node 1 talk to it on both
// networks.
func eavesdrop(ctx context.Context, t *tour) (string, error) {
	_, last, err := t.inSwarm(swarmNodes - 1)
	if err != nil {
		return "", err
	}
	dead := swarmNodes - 1
	talks := []talk{{mesh, swarmHost(0), swarmHost(dead), netip.AddrPortFrom(underlay(dead), t.swarm.ports.dataPath), nil},
		{vault, safe(0), safe(dead), netip.AddrPortFrom(underlay(dead), t.swarm.ports.esp), nil}}
	for i := range talks {
		if err := talks[i].find(ctx, t); err != nil {
			return "", err
		}
	}
	if err := last.kill(ctx); err != nil {
		return "", err
	}
	proof, err := t.overheard(ctx, talks)
	if err := errors.Join(err, last.resume(ctx)); err != nil {
		return strings.Join(proof, "\n"), err
	}
	first, _, err := t.inSwarm(0)
	if err != nil {
		return strings.Join(proof, "\n"), err
	}
	var back string
	err = eventually(ctx, func() (err error) { back, err = first.reach(ctx, safe(0), talks[1].to(), 2); return err })
	return strings.Join(append(proof, "node 3 starts, with new keys", back), "\n"), err
}

// A talk is what a host on node 1 says to one on the dead node, and where it is heard.
type talk struct {
	network, from, dead string
	at                  netip.AddrPort
	inner               []byte // in the packets of both: source and destination
}

// find finds the addresses, while both nodes live.
func (c *talk) find(ctx context.Context, t *tour) error {
	src, err := t.onlyAddr(ctx, 0, c.from)
	if err != nil {
		return err
	}
	dst, err := t.onlyAddr(ctx, swarmNodes-1, c.dead)
	c.inner = slices.Concat(src.Addr().AsSlice(), dst.Addr().AsSlice())
	return err
}

// to is the address that is talked to.
func (c *talk) to() netip.Addr {
	a, _ := netip.AddrFromSlice(c.inner[len(c.inner)/2:])
	return a
}

// hear returns the datagrams that come while the host pings.
func (c *talk) hear(ctx context.Context, t *tour) ([][]byte, error) {
	first, _, err := t.inSwarm(0)
	if err != nil {
		return nil, err
	}
	e, err := listen(c.at)
	if err != nil {
		return nil, err
	}
	defer e.conn.Close()
	if _, err := first.refused(ctx, c.from, c.to()); err != nil {
		return nil, err
	}
	return e.heard()
}

// overheard listens at both ports of the dead node, and opens what must not be
// readable without the keys.
func (t *tour) overheard(ctx context.Context, talks []talk) (proof []string, err error) {
	for _, c := range talks {
		got, err := c.hear(ctx, t)
		if err != nil {
			return proof, err
		}
		readable := 0
		for _, b := range got {
			if bytes.Contains(b, c.inner) {
				readable++
			}
		}
		proof = append(proof, fmt.Sprintf("%s → %s: %d datagrams came to %s, %d with the hosts' addresses in them", c.from, c.dead, len(got), c.at, readable))
		switch {
		case c.network == mesh && readable == 0:
			return proof, errors.New("what is in clear was not heard: the eavesdropper is deaf")
		case c.network == mesh:
			continue
		case len(got) == 0:
			return proof, errors.New("nothing was heard of the encrypted network")
		case readable > 0:
			return proof, errors.New("everybody can read what is on the encrypted network")
		}
		line, err := t.opened(ctx, got, c.inner)
		return append(proof, fmt.Sprintf("as it came: % x…", got[0][:min(len(got[0]), 24)]), line), err
	}
	return proof, nil
}

// opened opens datagrams with the keys that node 1 gives out, and wants the addresses
// in what comes out.
func (t *tour) opened(ctx context.Context, got [][]byte, inner []byte) (string, error) {
	_, one, err := t.inSwarm(0)
	if err != nil {
		return "", err
	}
	lines, err := one.export(ctx, vault)
	if err != nil {
		return "", err
	}
	keys, err := readKeys(lines)
	if err != nil {
		return "", err
	}
	var frame []byte
	count := 0
	for _, b := range got {
		payload, next, err := openESP(keys, b)
		if err != nil {
			return "", err
		}
		if next == nextUDP && len(payload) > udpLen+vxlanLen && bytes.Contains(payload, inner) {
			frame, count = payload[udpLen+vxlanLen:], count+1
		}
	}
	if count == 0 {
		return "", fmt.Errorf("%d datagrams were opened, and none has the hosts' addresses", len(got))
	}
	return fmt.Sprintf("with the %d exported keys: %s", len(keys), capture.Summary(frame)), nil
}

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
