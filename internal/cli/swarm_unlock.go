package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"weft/internal/api"
)

func (a *app) swarmUnlockCmd() *cobra.Command {
	c := &cobra.Command{Use: "unlock", Short: "Unlock this manager, with the key read from standard input", Args: noArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		if err := lockedHere(c.Context(), cl); err != nil { // before a key is typed in vain
			return err
		}
		key, err := a.readKey("Enter unlock key: ")
		if err != nil {
			return err
		}
		_, err = cl.SwarmUnlock(c.Context(), client.SwarmUnlockOptions{Key: key})
		return err
	}
	return c
}

// lockedHere refuses to unlock what is not locked.
func lockedHere(ctx context.Context, cl *api.Client) error {
	info, err := cl.Info(ctx, client.InfoOptions{})
	if err != nil {
		return err
	}
	switch s := info.Info.Swarm; s.LocalNodeState {
	case swarm.LocalNodeStateLocked:
		return nil
	case swarm.LocalNodeStateInactive:
		return errors.New("this node is not part of a swarm")
	case swarm.LocalNodeStateError:
		return fmt.Errorf("this node's part in the swarm is in error: %s", s.Error)
	}
	return errors.New("swarm is not locked")
}

// readKey reads a secret: a line of a pipe, or what is typed at a terminal, which
// then does not show it.
func (a *app) readKey(prompt string) (key string, err error) {
	if isTerminal(a.in) {
		fmt.Fprint(a.out, prompt)
		key, err = a.readHidden()
		fmt.Fprintln(a.out)
	} else if key, err = bufio.NewReader(a.in).ReadString('\n'); errors.Is(err, io.EOF) {
		err = nil // a last line without its end
	}
	if key = strings.TrimSpace(key); err == nil && key == "" {
		err = errors.New("no unlock key was given")
	}
	return key, err
}

// readHidden reads a line from the terminal without echo. An interrupt, which would
// leave the terminal silent, ends the command in order.
func (a *app) readHidden() (string, error) {
	fd, _ := fdOf(a.in)
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() { // after an interrupt it ends with the process
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return string(l.text), l.err
	case <-interrupted:
		return "", errors.Join(&exitError{code: exitInterrupted}, term.Restore(fd, before))
	}
}

func (a *app) swarmUnlockKeyCmd() *cobra.Command {
	var rotate, quiet bool
	c := &cobra.Command{Use: "unlock-key [FLAGS]", Short: "Show the key that unlocks managers, or make it anew", Args: noArgs}
	c.Flags().BoolVar(&rotate, "rotate", false, "Make a new one: keep the old one until all managers have started with the new")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "The key alone")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if rotate {
			if err := a.updateSwarm(c, func(o *client.SwarmUpdateOptions) { o.RotateManagerUnlockKey = true }); err != nil {
				return err
			}
		}
		return a.showUnlockKey(c, quiet)
	}
	return c
}

func (a *app) showUnlockKey(c *cobra.Command, quiet bool) error {
	cl, err := a.connect(false)
	if err != nil {
		return err
	}
	r, err := cl.SwarmGetUnlockKey(c.Context())
	switch {
	case err != nil:
		return err
	case r.Key == "":
		return errors.New("no unlock key is set: \"weft swarm update --autolock\" sets one")
	case quiet:
		fmt.Fprintln(a.out, r.Key)
	default:
		fmt.Fprintf(a.out, "To unlock a swarm manager after it restarts, run the `weft swarm unlock`\ncommand and provide the following key:\n\n    %s\n\n"+
			"Remember to store this key in a password manager: without it a manager cannot be started again.\n", r.Key)
	}
	return nil
}
