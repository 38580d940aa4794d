package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"weft/internal/api"
)

// webPort is where a host's web server listens.
const webPort = 80

func published(ctx context.Context, t *tour) (string, error) {
	tcp, udp, err := t.web(ctx, "fern", front)
	if err != nil {
		return "", err
	}
	web, proof, err := t.answered(ctx, "tcp", tcp, askWeb)
	if err != nil {
		return "", err
	}
	defer web.Close()
	datagrams, line, err := t.answered(ctx, "udp", udp, askDatagram)
	if err != nil {
		return proof, err
	}
	defer datagrams.Close()
	proof += "\n" + line
	elsewhere := netip.AddrPortFrom(underlay(1), tcp.Port())
	if c, err := net.Dial("tcp", elsewhere.String()); err == nil {
		c.Close()
		return proof, fmt.Errorf("%s accepts, though only %s was published", elsewhere, tcp)
	}
	proof += fmt.Sprintf("\ntcp %s: refused, for it was not named", elsewhere)
	fern, err := t.addr(ctx, "fern", front)
	if err != nil {
		return proof, err
	}
	flows, table, err := t.flows(ctx, "fern")
	if err != nil {
		return proof, err
	}
	proof += "\n" + table
	to := netip.AddrPortFrom(fern, webPort)
	return proof, wantFlows(flows,
		api.Flow{Proto: "tcp", State: "established", Endpoint: to, Remote: seen(web), Published: tcp},
		api.Flow{Proto: "udp", State: "replied", Endpoint: to, Remote: seen(datagrams), Published: udp})
}

// answered asks a published port of fern's until there is an answer, for the sandbox may
// not listen yet, and returns the connection.
func (t *tour) answered(ctx context.Context, network string, at netip.AddrPort, ask func(net.Conn) (string, error)) (c net.Conn, proof string, err error) {
	err = eventually(ctx, func() error {
		if c, err = net.Dial(network, at.String()); err != nil {
			return err
		}
		text, err := ask(c)
		if want := fmt.Sprintf("fern, asked by %s", seen(c)); err == nil && text != want {
			err = fmt.Errorf("%s %s answers %q, want %q", network, at, text, want)
		}
		if err != nil {
			c.Close()
			return err
		}
		proof = fmt.Sprintf("%s %s → %s: %q", network, c.LocalAddr(), at, text)
		return nil
	})
	return c, proof, err
}

// seen returns who a sandbox on front sees at the other end: the client's own port,
// and the gateway, for an address of the loopback is nobody's in a sandbox.
func seen(c net.Conn) netip.AddrPort {
	local, _ := netip.ParseAddrPort(c.LocalAddr().String()) // a socket of ours has one
	return netip.AddrPortFrom(gateway(front), local.Port())
}

// askWeb sends a request and leaves the connection open.
func askWeb(c net.Conn) (string, error) {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	req, err := http.NewRequest(http.MethodGet, "http://fern/", nil)
	if err != nil {
		return "", err
	}
	if err := req.Write(c); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(text)), err
}

// askDatagram sends a datagram and waits for one.
func askDatagram(c net.Conn) (string, error) {
	_ = c.SetDeadline(time.Now().Add(pingTimeout))
	if _, err := io.WriteString(c, "?"); err != nil {
		return "", err
	}
	b := make([]byte, 256)
	n, err := c.Read(b)
	return strings.TrimSpace(string(b[:n])), err
}

// wantFlows compares all but the counts.
func wantFlows(flows []api.Flow, want ...api.Flow) error {
	for _, w := range want {
		found := false
		for _, f := range flows {
			found = found || f.Proto == w.Proto && f.State == w.State && f.Endpoint == w.Endpoint && f.Remote == w.Remote && f.Published == w.Published
		}
		if !found {
			return fmt.Errorf("no %s connection by %s from %s to %s is listed", w.Proto, w.Published, w.Remote, w.Endpoint)
		}
	}
	return nil
}
