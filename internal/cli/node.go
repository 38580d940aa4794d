package cli

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) nodeCmd() *cobra.Command {
	c := &cobra.Command{Use: "node COMMAND", Short: "Look at and change the nodes of a swarm", Args: cobra.ArbitraryArgs, RunE: group}
	c.AddCommand(a.nodeLsCmd(), a.nodeInspectCmd(), a.nodeUpdateCmd(), a.nodeRoleCmd("promote", swarm.NodeRoleManager), a.nodeRoleCmd("demote", swarm.NodeRoleWorker), a.nodeRmCmd())
	return c
}

func (a *app) nodeLsCmd() *cobra.Command {
	var quiet bool
	var format string
	var filter filterFlag
	c := &cobra.Command{
		Use: "ls [FLAGS]", Aliases: []string{"list"}, Short: "List the nodes of the swarm", Args: noArgs,
		Long: "List the nodes of the swarm. ROLE tells managers whose vote counts from standbys, which have a full copy, and LOSS what the loss of\n" +
			"the node would mean.",
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "IDs only")
	c.Flags().StringVar(&format, "format", "", formatHelp)
	c.Flags().VarP(&filter, "filter", "f", "Condition such as name=node1, role=manager, node.label=KEY[=VALUE], id=, membership=accepted")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		r, err := cl.NodeList(c.Context(), client.NodeListOptions{Filters: filter.f})
		if err != nil {
			return err
		}
		more, err := cl.Nodes(c.Context())
		if err != nil {
			return err
		}
		info, err := cl.Info(c.Context(), client.InfoOptions{})
		if err != nil {
			return err
		}
		slices.SortFunc(r.Items, func(x, y swarm.Node) int { return compareNatural(x.Description.Hostname, y.Description.Hostname) })
		rows := make([]record, 0, len(r.Items))
		for _, n := range r.Items {
			at := slices.IndexFunc(more, func(m api.Node) bool { return m.ID == n.ID })
			var m api.Node
			if at >= 0 {
				m = more[at]
			}
			rows = append(rows, nodeRecord(n, m, tlsStatus(n, info.Info.Swarm.Cluster)))
		}
		return nodeListing().print(a.out, format, quiet, rows)
	}
	return c
}

// nodeListing has the fields and columns of docker node ls, and two of its own.
func nodeListing() listing {
	return listing{
		headings: headings{
			"ID": "ID", "Self": "", "Hostname": "HOSTNAME", "Status": "STATUS", "Availability": "AVAILABILITY", "ManagerStatus": "MANAGER STATUS",
			"EngineVersion": "ENGINE VERSION", "TLSStatus": "TLS STATUS", "Role": "ROLE", "Loss": "LOSS", "Addr": "ADDRESS",
		},
		table: `{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.Role}}\t{{.Loss}}`,
		quiet: "{{.ID}}",
	}
}

func nodeRecord(n swarm.Node, m api.Node, tls string) record {
	manager, role := "", "worker"
	if s := n.ManagerStatus; s != nil {
		switch {
		case s.Leader:
			manager = "Leader"
		case s.Reachability == swarm.ReachabilityReachable:
			manager = "Reachable"
		default:
			manager = "Unreachable"
		}
		role = "standby"
		if m.Voter {
			role = "voter"
		}
	}
	return record{
		"ID": n.ID, "Self": m.Self, "Hostname": n.Description.Hostname, "Status": capital(string(n.Status.State)),
		"Availability": capital(string(n.Spec.Availability)), "ManagerStatus": manager, "EngineVersion": n.Description.Engine.EngineVersion,
		"TLSStatus": tls, "Role": role, "Loss": m.Message, "Addr": n.Status.Addr,
	}
}

// changeNode changes what is said of a node as it is now, unless change fails.
func changeNode(ctx context.Context, cl *api.Client, ref string, change func(*swarm.NodeSpec) error) error {
	r, err := cl.NodeInspect(ctx, ref, client.NodeInspectOptions{})
	if err != nil {
		return err
	}
	spec := r.Node.Spec
	if err := change(&spec); err != nil {
		return err
	}
	_, err = cl.NodeUpdate(ctx, r.Node.ID, client.NodeUpdateOptions{Version: r.Node.Version, Spec: spec})
	return err
}

func (a *app) nodeUpdateCmd() *cobra.Command {
	var add, remove []string
	c := &cobra.Command{Use: "update [FLAGS] NODE", Short: "Change what is said of a node", Args: exactArgs(1, "NODE")}
	availability := availabilityFlag(c, "")
	role := choose(c, "role", "", "Role of the node", "worker", "manager")
	c.Flags().StringArrayVar(&add, "label-add", nil, "Label as KEY[=VALUE]; repeatable")
	c.Flags().StringArrayVar(&remove, "label-rm", nil, "KEY of a label to remove; repeatable")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !ownFlagGiven(c) {
			return usagef(c, "nothing to change was named")
		}
		for _, l := range add {
			if k, _, _ := strings.Cut(l, "="); k == "" || strings.ContainsFunc(k, unicode.IsSpace) {
				return usagef(c, "--label-add %q: expected KEY[=VALUE], with a KEY without spaces", l)
			}
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		err = changeNode(c.Context(), cl, args[0], func(s *swarm.NodeSpec) error {
			s.Availability = swarm.NodeAvailability(cmp.Or(availability.word, string(s.Availability)))
			s.Role = swarm.NodeRole(cmp.Or(role.word, string(s.Role)))
			return changeLabels(s, add, remove)
		})
		if err == nil {
			fmt.Fprintln(a.out, args[0])
		}
		return err
	}
	return c
}

// changeLabels adds labels to a node and removes others; one that is to be removed
// must be there.
func changeLabels(s *swarm.NodeSpec, add, remove []string) error {
	if s.Labels == nil {
		s.Labels = make(map[string]string)
	}
	for _, l := range add {
		k, v, _ := strings.Cut(l, "=")
		s.Labels[k] = v
	}
	for _, k := range remove {
		if _, there := s.Labels[k]; !there {
			return fmt.Errorf("key %s doesn't exist in node's labels", k)
		}
		delete(s.Labels, k)
	}
	return nil
}

// tlsStatus says, as Docker does, whether a node's certificate is of the swarm's
// root.
func tlsStatus(n swarm.Node, c *swarm.ClusterInfo) string {
	switch own := n.Description.TLSInfo; {
	case c == nil || reflect.DeepEqual(c.TLSInfo, swarm.TLSInfo{}) || reflect.DeepEqual(own, swarm.TLSInfo{}):
		return "Unknown"
	case reflect.DeepEqual(own, c.TLSInfo):
		return "Ready"
	}
	return "Needs Rotation"
}

func (a *app) nodeRoleCmd(verb string, role swarm.NodeRole) *cobra.Command {
	c := &cobra.Command{Use: verb + " NODE...", Short: "Make nodes " + string(role) + "s of the swarm", Args: minArgs(1, "NODE")}
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		for _, ref := range args {
			same := false
			err := changeNode(c.Context(), cl, ref, func(s *swarm.NodeSpec) error {
				same, s.Role = s.Role == role, role
				return nil
			})
			switch {
			case err != nil:
				return err
			case same:
				fmt.Fprintf(a.out, "Node %s is already a %s.\n", ref, role)
			default:
				fmt.Fprintf(a.out, "Node %s %sd in the swarm.\n", ref, verb)
			}
		}
		return nil
	}
	return c
}

func (a *app) nodeRmCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "rm [FLAGS] NODE...", Aliases: []string{"remove"}, Short: "Take nodes out of the swarm that are gone", Args: minArgs(1, "NODE")}
	c.Flags().BoolVarP(&force, "force", "f", false, "Nodes that are up, too, and managers")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		return a.each(args, func(ref string) error {
			_, err := cl.NodeRemove(c.Context(), ref, client.NodeRemoveOptions{Force: force})
			return err
		})
	}
	return c
}
