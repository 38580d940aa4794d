package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) infoCmd() *cobra.Command {
	var format string
	c := &cobra.Command{Use: "info [FLAGS]", Short: "Show the daemon and what it runs", Args: noArgs}
	c.Flags().StringVarP(&format, "format", "f", "", "json, or a Go TEMPLATE")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		r, err := cl.Info(c.Context(), client.InfoOptions{})
		if err != nil {
			return err
		}
		socket := strings.TrimPrefix(cl.DaemonHost(), "unix://")
		if format != "" {
			view := infoView{Info: r.Info, Socket: socket}
			raw, err := json.Marshal(view)
			if err != nil {
				return err
			}
			return printInspected(a.out, format, []inspected{{typed: view, raw: raw}})
		}
		own, err := cl.WeftInfo(c.Context())
		if err != nil {
			return err
		}
		printInfo(a.out, socket, r.Info, own)
		return nil
	}
	return c
}

// An infoView is what a template sees: what the daemon says, and where it was
// asked. The socket is a path alone, as in docker -H unix://{{.Socket}}.
type infoView struct {
	system.Info
	Socket string
}

func printInfo(w io.Writer, socket string, i system.Info, own api.Info) {
	rootless := "no"
	if own.Rootless {
		rootless = "yes"
	}
	offload := own.Rung
	if offload == "" {
		offload = "not known before the first sandbox"
	}
	uplink := own.Uplink
	if own.HostLoopback {
		uplink += ", with its loopback"
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"Containers", own.Sandboxes}, {" Running", own.Running}, {" Stopped", own.Sandboxes - own.Running},
		{"Networks", own.Networks}, {"Ports", own.Ports}, {"Server Version", own.Version},
		{"Socket", socket}, {"ID", own.ID}, {"Name", own.Name}, {"Rootless", rootless}, {"PID", own.PID},
		{"Started", ago(own.Started) + " (" + own.Started.Format(time.RFC3339) + ")"},
		{"Workers", own.Workers}, {"Offload", offload}, {"Uplink", uplink}, {"Operating System", i.OperatingSystem},
		{"Kernel Version", i.KernelVersion}, {"Architecture", i.Architecture}, {"CPUs", i.NCPU},
		{"Total Memory", units.BytesSize(float64(i.MemTotal))}, {"Data Directory", own.DataDir}, {"Runtime Directory", own.RunDir},
	} {
		fmt.Fprintf(w, "%s: %v\n", line.name, line.value)
	}
	printSwarm(w, i.Swarm)
	if len(i.DefaultAddressPools) > 0 {
		fmt.Fprintln(w, "Default Address Pools:")
	}
	for _, p := range i.DefaultAddressPools {
		fmt.Fprintf(w, "   Base: %s, Size: %d\n", p.Base, p.Size)
	}
	for _, warning := range i.Warnings {
		fmt.Fprintln(w, warning)
	}
}
