package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// headerTimeout is how long a client may take for a request's headers, and
// how long an idle connection is kept.
const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Minute
)

// A Server answers the API for one backend. It is an [http.Handler] too.
//
// Theory of operation: net/http owns one goroutine per connection; a handler
// adds at most one more, for the input of a hijacked stream, and waits for it
// before it returns. A detached exec has one that reads its output, until it
// ends; Shutdown waits for those. Streams (events, logs, captures, waits) end with the
// request's context, which ends with the client's connection or with base.
// Connections that were hijacked are out of net/http's sight: they are kept in
// conns until their handler returns, and closed by Shutdown.
type Server struct {
	backend Backend
	swarm   SwarmBackend
	product string // Server header
	log     *slog.Logger
	mux     *http.ServeMux
	http    *http.Server
	base    context.Context
	stop    context.CancelFunc

	mu    sync.Mutex
	conns map[net.Conn]struct{} // hijacked
	busy  sync.WaitGroup        // their handlers, and detached execs
}

// NewServer returns a server for b, which may be a [SwarmBackend] too. A nil
// log discards.
func NewServer(b Backend, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{backend: b, log: log, mux: http.NewServeMux(), conns: map[net.Conn]struct{}{}}
	if s.swarm, _ = b.(SwarmBackend); s.swarm == nil {
		s.swarm = noSwarm{}
	}
	s.product = "weft/" + b.Info().Version + " (linux)"
	s.base, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.base },
	}
	s.routes()
	return s
}

// Serve answers on l until Shutdown, and returns nil then. It may be called
// for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends every stream, lets other requests finish until ctx ends, and
// closes all listeners and connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.busy.Wait()
	return err
}

// A handler answers one request, or returns the error to answer with. It must
// not return an error once it has written.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle enters a handler for a pattern of [http.ServeMux].
func (s *Server) handle(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "error", err)
			writeError(w, err)
		}
	})
}

// ServeHTTP takes the version off the path and hands over to the route.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", s.product)
	h.Set("Api-Version", Version)
	h.Set("Docker-Experimental", "false")
	h.Set("Ostype", "linux")
	if err := sameOrigin(r); err != nil {
		writeError(w, err)
		return
	}
	v, path, err := splitVersion(r.URL.Path)
	if err != nil {
		writeError(w, err)
		return
	}
	if path != r.URL.Path {
		r = r.WithContext(withVersion(r.Context(), v))
		u := *r.URL
		u.RawPath = trimVersion(u.RawPath)
		u.Path = path
		r.URL = &u
	} else {
		r = r.WithContext(withVersion(r.Context(), current))
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		writeError(w, s.unknownPath(r))
		return
	}
	s.mux.ServeHTTP(w, r)
}
