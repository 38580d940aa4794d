package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

// Version is weft's.
const Version = "0.1.0"

// clientVersion is this binary, serverVersion the daemon it talks to.
type clientVersion struct {
	Version    string
	APIVersion string `json:"ApiVersion"`
	GitCommit  string
	GoVersion  string
	Os         string
	Arch       string
}

type serverVersion struct {
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string
	Os            string
	Arch          string
	Components    any `json:",omitempty"`
}

// versions are what {{.Client.Version}} and {{.Server.Version}} are taken from.
type versions struct {
	Client clientVersion
	Server *serverVersion
}

// ServerOK is Docker's name for "there is a server".
func (v versions) ServerOK() bool { return v.Server != nil }

func (a *app) versionCmd() *cobra.Command {
	var format string
	c := &cobra.Command{Use: "version [FLAGS]", Short: "Show this binary's version and the daemon's", Args: noArgs}
	c.Flags().StringVarP(&format, "format", "f", "", "json, or a Go TEMPLATE")
	c.RunE = func(c *cobra.Command, _ []string) error {
		v := versions{Client: thisVersion()}
		h, err := a.chooseHost()
		if err != nil {
			return err
		}
		none := "no daemon is running (looked at " + h.url + ")"
		if p := h.path(); h.explicit || (daemonSupported && answers(p)) {
			if v.Server, err = a.serverVersion(c.Context()); err != nil {
				none = message(err)
			}
		}
		if err := printVersion(a.out, format, v); err != nil {
			return err
		}
		switch {
		case v.Server != nil:
		case format == "":
			fmt.Fprintf(a.out, "\nServer: none, %s\n", none)
		case h.explicit: // it was named, and the output has no place to say it
			fmt.Fprintf(a.err, "weft: no server part: %s\n", none)
		}
		return nil
	}
	return c
}

func thisVersion() clientVersion {
	v := clientVersion{Version: Version, APIVersion: api.Version, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.GitCommit = shortID(s.Value, false)
			}
		}
	}
	return v
}

func (a *app) serverVersion(ctx context.Context) (*serverVersion, error) {
	cl, err := a.connect(false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := cl.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, err
	}
	return &serverVersion{
		Version: r.Version, APIVersion: r.APIVersion, MinAPIVersion: r.MinAPIVersion, Os: r.Os, Arch: r.Arch, Components: r.Components,
	}, nil
}

func printVersion(w io.Writer, format string, v versions) error {
	switch format {
	case "json":
		format = "{{json .}}"
	case "":
		v.print(w)
		return nil
	}
	t, err := parseTemplate(format, rowFuncs())
	if err != nil {
		return err
	}
	if err := t.Execute(w, v); err != nil {
		return templateError(err)
	}
	fmt.Fprintln(w)
	return nil
}

func (v versions) print(w io.Writer) {
	fmt.Fprintln(w, "Client: weft")
	fmt.Fprintf(w, " Version:           %s\n", v.Client.Version)
	fmt.Fprintf(w, " API version:       %s\n", v.Client.APIVersion)
	fmt.Fprintf(w, " Go version:        %s\n", v.Client.GoVersion)
	if v.Client.GitCommit != "" {
		fmt.Fprintf(w, " Git commit:        %s\n", v.Client.GitCommit)
	}
	fmt.Fprintf(w, " OS/Arch:           %s/%s\n", v.Client.Os, v.Client.Arch)
	if v.Server == nil {
		return
	}
	fmt.Fprintln(w, "\nServer: weft")
	fmt.Fprintf(w, " Version:           %s\n", v.Server.Version)
	fmt.Fprintf(w, " API version:       %s (minimum version %s)\n", v.Server.APIVersion, v.Server.MinAPIVersion)
	fmt.Fprintf(w, " OS/Arch:           %s/%s\n", v.Server.Os, v.Server.Arch)
}
