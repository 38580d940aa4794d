package demo

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/api"
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
		a, err := t.overlayAddr(ctx, i, safe(i))
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
	a, err := t.overlayAddr(ctx, 1, safe(1))
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
