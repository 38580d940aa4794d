package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) swarmCACmd() *cobra.Command {
	var rotate, detach, quiet bool
	var expiry time.Duration
	c := &cobra.Command{
		Use: "ca [FLAGS]", Short: "Show the root certificate, or replace it", Args: noArgs,
		Long: "Show the root certificate, or replace it. With --rotate the command waits until every node has renewed its certificate; a node that is down\n" +
			"is waited for until it returns or is removed. It may be interrupted: the managers go on.",
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "Make a new one; nodes renew their certificates, and when all have the old one ends")
	c.Flags().BoolVarP(&detach, "detach", "d", false, "Do not wait until all nodes have renewed")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Wait without a word")
	c.Flags().DurationVar(&expiry, "cert-expiry", 90*24*time.Hour, certExpiryHelp)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !rotate && ownFlagGiven(c) {
			return usagef(c, "--detach, --quiet and --cert-expiry need --rotate")
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		s, err := cl.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
		if err != nil {
			return err
		}
		if rotate {
			err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) {
				o.Spec.CAConfig.ForceRotate++
				if c.Flags().Changed("cert-expiry") {
					o.Spec.CAConfig.NodeCertExpiry = expiry
				}
			})
			if err != nil || detach {
				return err
			}
			if s, err = a.awaitRotation(c.Context(), cl, s.Swarm.TLSInfo, quiet); err != nil || quiet {
				return err
			}
		}
		root := strings.TrimSpace(s.Swarm.TLSInfo.TrustRoot)
		if root == "" {
			return errors.New("no root certificate is known")
		}
		fmt.Fprintln(a.out, root)
		return nil
	}
	return c
}

// rotationPoll is how often is looked who has renewed, as in Docker.
const rotationPoll = 200 * time.Millisecond

// awaitRotation waits until all nodes have certificates of another root than before,
// tells of each step, and returns the swarm as it is then.
func (a *app) awaitRotation(ctx context.Context, cl *api.Client, before swarm.TLSInfo, quiet bool) (client.SwarmInspectResult, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	said := ""
	for {
		s, err := cl.SwarmInspect(ctx, client.SwarmInspectOptions{})
		var nodes client.NodeListResult
		if err == nil {
			nodes, err = cl.NodeList(ctx, client.NodeListOptions{})
		}
		if ctx.Err() != nil {
			fmt.Fprintln(a.err, "The rotation goes on: \"weft node ls --format '{{.Hostname}} {{.TLSStatus}}'\" shows who has yet to renew.")
			return s, &exitError{code: exitInterrupted}
		}
		if err != nil {
			return s, err
		}
		// A manager that does not lead may not have heard of the rotation yet.
		if begun := !bytes.Equal(s.Swarm.TLSInfo.CertIssuerPublicKey, before.CertIssuerPublicKey); begun {
			text, done := rotationState(s.Swarm.ClusterInfo, nodes.Items)
			if text != said && !quiet {
				fmt.Fprintln(a.err, text)
			}
			if said = text; done {
				return s, nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(rotationPoll):
		}
	}
}

// rotationState says how far the replacing of a root is, and whether it is done.
func rotationState(c swarm.ClusterInfo, nodes []swarm.Node) (text string, done bool) {
	var behind []string
	for _, n := range nodes {
		if t := n.Description.TLSInfo; !bytes.Equal(t.CertIssuerPublicKey, c.TLSInfo.CertIssuerPublicKey) || !bytes.Equal(t.CertIssuerSubject, c.TLSInfo.CertIssuerSubject) {
			behind = append(behind, fmt.Sprintf("%s (%s)", n.Description.Hostname, n.Status.State))
		}
	}
	text = fmt.Sprintf("rotated TLS certificates: %d/%d nodes", len(nodes)-len(behind), len(nodes))
	switch {
	case len(behind) > 0:
		text += ", waiting for " + strings.Join(behind, ", ")
	case c.RootRotationInProgress:
		text += ", waiting for the old root to end"
	}
	return text, len(behind) == 0 && !c.RootRotationInProgress
}
