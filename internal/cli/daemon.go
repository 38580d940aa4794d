package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/node"
)

// drainTime is how long requests may take to finish when the daemon stops.
const drainTime = 5 * time.Second

func (a *app) daemonCmd() *cobra.Command {
	var f daemonFlags
	c := &cobra.Command{
		Use: "daemon [FLAGS]", Short: "Run the daemon: one node, its switch and its API",
		Long: "Run the daemon in the foreground until SIGTERM or SIGINT. Networks and sandboxes outlive it: started again,\n" +
			"it takes them over with their traffic.\n\n" +
			"Every flag can stand in the --config file under its own name; a flag on the command line wins.",
		Args: noArgs,
	}
	f.bind(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !daemonSupported {
			return errNoDaemonHere
		}
		if err := f.load(c); err != nil {
			return err
		}
		return a.daemon(c.Context(), &f)
	}
	return c
}

// places fills in where the daemon listens and keeps its state.
func (a *app) places(f *daemonFlags) (node.Config, string, error) {
	var cfg node.Config
	if a.host == "" {
		a.host = f.Host
	}
	h, err := a.chooseHost()
	if err != nil {
		return cfg, "", err
	}
	if err := checkListen(h.url); err != nil {
		return cfg, "", err
	}
	cfg.DataDir = f.DataDir
	if cfg.DataDir == "" {
		if cfg.DataDir, err = a.dataDir(); err != nil {
			return cfg, "", err
		}
	}
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return cfg, "", err
	}
	cfg.RunDir = h.runDir(cfg.DataDir)
	cfg.Workers = f.Workers
	cfg.Pools = f.pools
	cfg.DataPathAddrs, cfg.AdvertiseAddr, cfg.DataPathPort = f.addrs, f.advertise, uint16(f.Port)
	cfg.ESPPort, cfg.ESPKeepalive = uint16(f.ESPPort), f.Keepalive
	cfg.ESPInIP = f.Encapsulation == espInIP
	if f.Keepalive == 0 {
		cfg.ESPKeepalive = -1
	}
	cfg.NoGSO, cfg.NoGRO = f.NoGSO, f.NoGRO
	cfg.StandardAES = f.AES == aesStandard
	cfg.NodeName, cfg.ControlPort, cfg.GossipPort, cfg.Gossip = f.NodeName, uint16(f.ControlPort), uint16(f.GossipPort), f.gossip()
	cfg.TAPOffload = f.offload
	cfg.Uplink, cfg.HostLoopback = f.uplink, f.HostLoopback
	cfg.Version = Version
	return cfg, h.url, nil
}

// daemon listens, takes over what the last daemon left, and serves until a
// signal comes.
func (a *app) daemon(ctx context.Context, f *daemonFlags) error {
	cfg, host, err := a.places(f)
	if err != nil {
		return err
	}
	if cfg.Log, err = a.logger(f); err != nil {
		return err
	}
	// What is made for a daemon that is refused goes again.
	forget := removeLater(cfg.DataDir, cfg.RunDir)
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		forget()
		return fmt.Errorf("data directory: %w", err)
	}
	if err := privateDir(cfg.RunDir); err != nil {
		forget()
		return fmt.Errorf("runtime directory: %w", err)
	}
	if strings.HasPrefix(host, "tcp://") {
		cfg.Log.Warn("the API is on a TCP port without authentication: every user of this machine can run commands as you", "host", host)
	}
	stop := make(chan os.Signal, 4)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	// Listening comes first: a second daemon fails here, and clients that are too
	// early wait until this one is ready.
	l, err := api.Listen(host)
	if err != nil {
		forget()
		return err
	}
	defer l.Close()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		_ = l.Close()
		forget()
		return err
	}
	served := a.serve(n, l, host, cfg.Log, stop)
	cfg.Log.Info("daemon stops; networks and sandboxes go on")
	return errors.Join(served, n.Close())
}

// removeLater notes which of the directories, and of those above them, are not
// there yet. What it returns removes these, as far as they are empty: anything in
// them is somebody's.
func removeLater(dirs ...string) func() {
	var missing []string
	for _, dir := range dirs {
		for ; !slices.Contains(missing, dir); dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				break
			}
			missing = append(missing, dir)
		}
	}
	slices.SortFunc(missing, func(a, b string) int { return len(b) - len(a) }) // the inner first
	return func() {
		for _, dir := range missing {
			_ = os.Remove(dir)
		}
	}
}

// serve answers on l until a signal comes or serving fails.
func (a *app) serve(n *node.Node, l net.Listener, host string, log *slog.Logger, stop <-chan os.Signal) error {
	s := api.NewServer(n, log)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	log.Info("daemon listens", "host", host, "pid", os.Getpid(), "version", Version)
	if fd := a.getenv(readyEnv); fd != "" {
		reportReady(fd)
	}
	select {
	case err := <-served:
		return err
	case <-stop:
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := s.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // it was given its time
	}
	return errors.Join(err, <-served)
}

// logger writes to stderr in the format and from the level asked for.
func (a *app) logger(f *daemonFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		return nil, &usageError{err: fmt.Errorf("log-level %q: expected debug, info, warn or error", f.LogLevel)}
	}
	o := &slog.HandlerOptions{Level: level}
	switch f.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.err, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.err, o)), nil
	}
	return nil, &usageError{err: fmt.Errorf("log-format %q: expected text or json", f.LogFormat)}
}
