package sandbox

import (
	"context"
	"fmt"
	"net/netip"

	"weft/tap"
)

// maxInterfaces bounds what Interfaces takes from an agent.
const maxInterfaces = 1024

// AddInterface makes an interface inside and returns the device at its other end.
func (a *Agent) AddInterface(ctx context.Context, i Interface) (*tap.Device, error) {
	r, fds, err := a.call(ctx, request{Op: opAdd, Interface: &i})
	if err != nil {
		return nil, err
	}
	return tap.Adopt(r.Name, fds, i.Highest)
}

// Interfaces returns every interface made by AddInterface with new descriptors,
// for a daemon that was restarted. The devices are the caller's; they work on no
// rung above highest.
func (a *Agent) Interfaces(ctx context.Context, highest tap.Rung) (out []Adopted, err error) {
	defer func() {
		if err != nil {
			for _, i := range out {
				i.Device.Close()
			}
			out = nil
		}
	}()
	conn, r, fds, err := a.open(ctx, request{Op: opList})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer interrupt(ctx, conn)()
	for r.More {
		if len(out) == maxInterfaces {
			closeFDs(fds)
			return out, a.wrap(opList, fmt.Errorf("more than %d interfaces", maxInterfaces))
		}
		d, err := tap.Adopt(r.Name, fds, highest)
		if err != nil {
			return out, a.wrap(opList, err)
		}
		out = append(out, Adopted{r.Name, d})
		r = reply{}
		if fds, err = receive(conn, &r); err != nil {
			return out, a.wrap(opList, err)
		}
	}
	closeFDs(fds) // the last reply has none to give
	return out, r.err()
}

// RemoveInterface deletes an interface inside. The device's reads then say that
// it is gone.
func (a *Agent) RemoveInterface(ctx context.Context, name string) error {
	_, err := a.ask(ctx, request{Op: opRemove, Name: name})
	return err
}

// SetDefaultRoute makes the gateways the default routes by way of an interface; a
// family whose gateway is invalid keeps the default route it has.
func (a *Agent) SetDefaultRoute(ctx context.Context, ifname string, gw4, gw6 netip.Addr) error {
	_, err := a.ask(ctx, request{Op: opGateway, Name: ifname, Gateway4: gw4, Gateway6: gw6})
	return err
}

// SetMTU sets the largest IP packet, in bytes, that an interface inside sends, and
// the largest superframe it makes (0: as before).
func (a *Agent) SetMTU(ctx context.Context, ifname string, mtu, superframe int) error {
	_, err := a.ask(ctx, request{Op: opMTU, Name: ifname, MTU: mtu, Superframe: superframe})
	return err
}
