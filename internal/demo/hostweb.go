package demo

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// A hostWeb is the tour's own web server, on this machine's loopback: what the
// hosts of the tour have outside. Its goroutines end with close.
type hostWeb struct {
	srv  *http.Server
	port uint16

	mu    sync.Mutex
	asked int
	look  func(client netip.AddrPort) // called while a request is held
}

// words are what it answers.
const words = "from the machine's loopback\n"

// openHostWeb listens at 127.0.0.1, on a port that the kernel chooses.
func openHostWeb() (*hostWeb, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &hostWeb{port: ln.Addr().(*net.TCPAddr).AddrPort().Port()}
	w.srv = &http.Server{Handler: w}
	go func() { _ = w.srv.Serve(ln) }()
	return w, nil
}

// ServeHTTP implements http.Handler.
func (w *hostWeb) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && w.look != nil {
		w.look(from)
	}
	fmt.Fprint(out, words)
}

// requests returns how often it was asked.
func (w *hostWeb) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// watch sets what is done while the next requests are held.
func (w *hostWeb) watch(look func(client netip.AddrPort)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look = look
}

// at returns its URL at an address that stands for the loopback.
func (w *hostWeb) at(a netip.Addr) string {
	return fmt.Sprintf("http://%s/", netip.AddrPortFrom(a, w.port))
}

// close ends it and its connections.
func (w *hostWeb) close() error {
	if w == nil {
		return nil
	}
	return w.srv.Close()
}
