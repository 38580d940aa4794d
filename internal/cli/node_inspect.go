package cli

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func (a *app) nodeInspectCmd() *cobra.Command {
	var format string
	var pretty bool
	c := &cobra.Command{Use: "inspect [FLAGS] self|NODE...", Short: "Show everything about nodes, as JSON", Args: minArgs(1, "self|NODE")}
	c.Flags().StringVarP(&format, "format", "f", "", "json, or a Go TEMPLATE")
	c.Flags().BoolVar(&pretty, "pretty", false, "For a reader, not as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		if pretty && format != "" {
			return usagef(c, "--pretty and --format exclude each other")
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		inspect := func(ref string) (client.NodeInspectResult, error) {
			return cl.NodeInspect(c.Context(), ref, client.NodeInspectOptions{})
		}
		if pretty {
			return a.prettyNodes(args, inspect)
		}
		return a.inspectEach(args, format, func(ref string) (inspected, error) {
			r, err := inspect(ref)
			return inspected{raw: r.Raw, typed: r.Node}, err
		})
	}
	return c
}

// prettyNodes prints those of the nodes that are found, with a line between two, and
// then what was not.
func (a *app) prettyNodes(refs []string, inspect func(ref string) (client.NodeInspectResult, error)) error {
	var failed []error
	first := true
	for _, ref := range refs {
		r, err := inspect(ref)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if !first {
			fmt.Fprintln(a.out)
		}
		printNode(a.out, r.Node)
		first = false
	}
	for _, err := range failed {
		report(a.err, err)
	}
	if len(failed) > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// printNode has the lines of docker node inspect --pretty, in their order. What is
// not known, of another node its platform, has none.
func printNode(w io.Writer, n swarm.Node) {
	line := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" {
			fmt.Fprintf(w, "%-23s %s\n", name+":", text)
		}
	}
	line("ID", n.ID)
	line("Name", n.Spec.Name)
	if len(n.Spec.Labels) > 0 {
		fmt.Fprintln(w, "Labels:")
	}
	for _, k := range slices.Sorted(maps.Keys(n.Spec.Labels)) {
		l := " - " + k
		if v := n.Spec.Labels[k]; v != "" {
			l += "=" + v
		}
		fmt.Fprintln(w, l)
	}
	line("Hostname", n.Description.Hostname)
	line("Joined at", n.CreatedAt.UTC().Format(time.RFC3339))
	fmt.Fprintln(w, "Status:")
	line(" State", capital(string(n.Status.State)))
	line(" Message", capital(n.Status.Message))
	line(" Availability", capital(string(n.Spec.Availability)))
	line(" Address", n.Status.Addr)
	if m := n.ManagerStatus; m != nil {
		leader := "No"
		if m.Leader {
			leader = "Yes"
		}
		fmt.Fprintln(w, "Manager Status:")
		line(" Address", m.Addr)
		line(" Raft Status", capital(string(m.Reachability)))
		line(" Leader", leader)
	}
	d := n.Description
	if d.Platform.OS != "" {
		fmt.Fprintln(w, "Platform:")
		line(" Operating System", d.Platform.OS)
		line(" Architecture", d.Platform.Architecture)
	}
	if d.Resources.NanoCPUs != 0 {
		fmt.Fprintln(w, "Resources:")
		line(" CPUs", d.Resources.NanoCPUs/1e9)
		line(" Memory", units.BytesSize(float64(d.Resources.MemoryBytes)))
	}
	line("Engine Version", d.Engine.EngineVersion)
	if t := d.TLSInfo; t.TrustRoot != "" {
		fmt.Fprintf(w, "TLS Info:\n TrustRoot:\n%s\n", strings.TrimSpace(t.TrustRoot))
		line(" Issuer Subject", base64.StdEncoding.EncodeToString(t.CertIssuerSubject))
		line(" Issuer Public Key", base64.StdEncoding.EncodeToString(t.CertIssuerPublicKey))
	}
}

// capital writes a word of the API as Docker's tables do.
func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
