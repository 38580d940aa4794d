package cli

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) psCmd() *cobra.Command {
	var (
		all, quiet, noTrunc, latest bool
		last                        int
		format                      string
		filter                      filterFlag
	)
	c := &cobra.Command{Use: "ps [FLAGS]", Aliases: []string{"list"}, Short: "List sandboxes", Args: noArgs}
	fl := c.Flags()
	fl.BoolVarP(&all, "all", "a", false, "Stopped ones too")
	fl.BoolVarP(&quiet, "quiet", "q", false, "IDs only")
	fl.BoolVar(&noTrunc, "no-trunc", false, "Do not shorten IDs and commands")
	fl.BoolVarP(&latest, "latest", "l", false, "The one created last, in any state")
	fl.IntVarP(&last, "last", "n", -1, "The n created last, in any state")
	fl.StringVar(&format, "format", "", formatHelp)
	fl.VarP(&filter, "filter", "f", "Condition such as name=web, status=exited, network=front, label=k=v, publish=8080, expose=80/tcp, id=, exited=, before=, since=")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		o := client.ContainerListOptions{All: all, Filters: filter.f}
		switch {
		case latest:
			o.Limit = 1
		case last > 0:
			o.Limit = last
		}
		r, err := cl.ContainerList(c.Context(), o)
		if err != nil {
			return err
		}
		rows := make([]record, 0, len(r.Items))
		for _, s := range r.Items {
			rows = append(rows, sandboxRecord(s, noTrunc))
		}
		return sandboxListing().print(a.out, format, quiet, rows)
	}
	return c
}

// formatHelp describes --format for every listing.
const formatHelp = "How to print: table, 'table TEMPLATE', json, or a Go TEMPLATE"

// sandboxListing has the fields and columns of docker ps.
func sandboxListing() listing {
	return listing{
		headings: headings{
			"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
			"RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
			"Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS",
		},
		table: `{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}`,
		quiet: "{{.ID}}",
	}
}

func sandboxRecord(s container.Summary, noTrunc bool) record {
	command := s.Command
	if !noTrunc {
		command = ellipsis(command, 20)
	}
	names := make([]string, len(s.Names))
	for i, n := range s.Names {
		names[i] = strings.TrimPrefix(n, "/")
	}
	var networks []string
	if s.NetworkSettings != nil {
		for n := range s.NetworkSettings.Networks {
			networks = append(networks, n)
		}
	}
	slices.SortFunc(networks, compareNatural)
	created := time.Unix(s.Created, 0)
	return record{
		"ID": shortID(s.ID, noTrunc), "Names": strings.Join(names, ","), "Image": s.Image,
		"Command": strconv.Quote(command), "CreatedAt": created.String(), "RunningFor": ago(created),
		"Ports": displayPorts(s.Ports), "State": string(s.State), "Status": s.Status, "Size": "0B", "Labels": ownLabels(s.Labels),
		"Mounts": "", "LocalVolumes": "0", "Networks": strings.Join(networks, ","),
	}
}

// ownLabels are the labels that the user gave: one of weft's own carries the
// order of networks from `run` to the daemon.
func ownLabels(all map[string]string) labelSet {
	l := labelSet(maps.Clone(all))
	delete(l, api.LabelNetworks)
	return l
}

func compareNatural(a, b string) int {
	switch {
	case naturalLess(a, b):
		return -1
	case naturalLess(b, a):
		return 1
	}
	return 0
}
