package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// weftOut is a daemon of the ordinary user on the node, with one sandbox on a bridge
// network: its way out is the host's sockets, or a packet uplink.
type weftOut struct {
	ways
	weftNode
	packet bool
}

func (w *weftOut) name() string {
	if w.packet {
		return "weft-packet"
	}
	return "weft-out"
}

func (w *weftOut) title() string {
	if w.packet {
		return "weft, packet uplink"
	}
	return "weft, MTU 1500"
}

func (w *weftOut) on(ctx context.Context, host int, argv ...string) *exec.Cmd {
	if host == 1 {
		return w.ways.on(ctx, 1, argv...)
	}
	return w.weftNode.inside(ctx, "bench", argv...)
}

// uplinkAddr is the address of a packet uplink, which the node's kernel does not have.
const uplinkAddr = "10.97.17.100"

// addr is where the host inside is reached by its published ports.
func (w *weftOut) addr(host int) string {
	if w.packet && host == 0 {
		return uplinkAddr
	}
	return w.ways.addr(host)
}

func (w *weftOut) setUp(ctx context.Context) error {
	w.nodes = spaces{prefix: "wuwn", subnet: "10.97.16"}
	if w.packet {
		w.nodes = spaces{prefix: "wupk", subnet: "10.97.17"}
		w.flags = append(w.flags, "--uplink", "packet:under0", "--uplink-addr", uplinkAddr+"/24")
		w.caps = "+net_raw"
	}
	if err := w.wire(ctx); err != nil {
		return err
	}
	w.in = []string{"ip", "netns", "exec", w.nodes.ns(0)}
	if err := w.weftNode.start(ctx); err != nil {
		return err
	}
	argv := []string{"run", "-d", "--name", "bench"}
	for _, p := range published {
		port, proto := cutPort(p)
		argv = append(argv, "-p", fmt.Sprintf("%d:%d/%s", port, port, proto))
	}
	_, err := w.tell(ctx, append(argv, "--", "sleep", "86400")...)
	return err
}

func (w *weftOut) down() error { return errors.Join(w.weftNode.down(), w.remove()) }
