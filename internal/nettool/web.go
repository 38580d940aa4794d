package nettool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// WebPort is where web listens.
const WebPort = "80"

func webTool(ctx context.Context, addr, text string, out io.Writer) error {
	if text == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		text = "this is " + name
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(addr, ":"+WebPort))
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		_ = ln.Close()
		return err
	}
	fmt.Fprintf(out, "serving on %s\n", ln.Addr())
	return Web(ctx, ln, udp, text, out)
}

// Web answers HTTP requests on ln and datagrams on udp, each with a line that has
// text and who asked, until ctx ends, and says so on out. It closes both, and the
// connections, whose goroutines end by that.
func Web(ctx context.Context, ln net.Listener, udp net.PacketConn, text string, out io.Writer) error {
	s := &server{out: out}
	srv := &http.Server{ReadHeaderTimeout: idle, IdleTimeout: idle}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.say("%s: %s %s", r.RemoteAddr, r.Method, r.URL)
		fmt.Fprintf(w, "%s, asked by %s\n", text, r.RemoteAddr)
	})
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer udp.Close()
	defer cancel()
	s.wg.Go(func() { s.reply(ctx, udp, text) })
	defer closeWith(ctx, srv)()
	defer srv.Close()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reply answers datagrams until ctx ends and udp is closed.
func (s *server) reply(ctx context.Context, udp net.PacketConn, text string) {
	buf := make([]byte, 65536)
	for {
		_, from, err := udp.ReadFrom(buf)
		if err != nil && ctx.Err() != nil {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // such as an ICMP error about an earlier answer
			continue
		}
		s.say("%s: a datagram", from)
		_, _ = udp.WriteTo(fmt.Appendf(nil, "%s, asked by %s\n", text, from), from)
	}
}
