package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"weft/internal/cnm"
)

// secretBackup is said with every backup.
const secretBackup = "It holds the key of the swarm's root certificate, its join tokens and its keys: whoever has it can join as a manager. Keep it safe."

func (a *app) swarmBackupCmd() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "backup [FLAGS]", Short: "Write all that the managers have agreed on, for swarm restore", Args: noArgs,
		Long: "Write all that the managers have agreed on: nodes, networks, addresses, tokens, certificates and keys. The node must be a manager; one that does not\n" +
			"lead may be a moment behind. " + secretBackup,
	}
	c.Flags().StringVarP(&to, "output", "o", "-", "FILE to write, with mode 0600, - for stdout")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if to == "-" && isTerminal(a.out) {
			return usagef(c, "a backup is not for a terminal: name a file with -o, or redirect the output")
		}
		if to == "" {
			return usagef(c, "-o needs a FILE, or - for stdout")
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		backup, err := cl.BackupSwarm(c.Context())
		if err != nil {
			return err
		}
		defer backup.Close()
		if to == "-" {
			if _, err := io.Copy(a.out, backup); err != nil {
				return fmt.Errorf("the backup broke off, and what was written is of no use: %w", err)
			}
		} else if err := writeSecret(to, backup); err != nil {
			return err
		}
		fmt.Fprintln(a.err, "The swarm is backed up. "+secretBackup)
		return nil
	}
	return c
}

// writeSecret writes a file that its owner alone can read, whole or not at all.
func writeSecret(path string, from io.Reader) (err error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no file: -o - writes to stdout", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func (a *app) swarmRestoreCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "restore FILE", Short: "Make this node the only manager of the swarm that a backup is of", Args: exactArgs(1, "FILE, or - for stdin"),
		Long: "Make this node, which must be in no swarm, the only manager of the swarm that a backup is of, with its networks, addresses, tokens and certificates.\n" +
			"If this node has the name and the address of one in the backup it is that one again. The other nodes are listed, as workers. Workers return by\n" +
			"themselves where they find this node at a manager's old address; others leave and join again.\n\n" +
			"What runs of the old swarm's managers goes on without this one, so that there would be two swarms: stop them before.",
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		from := a.in
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if st, err := f.Stat(); err == nil && st.IsDir() {
				return fmt.Errorf("%s is a directory, a backup's file is expected", args[0])
			}
			from = f
		} else if isTerminal(a.in) {
			return usagef(c, "a backup is not typed: name its file, or redirect the input")
		}
		cl, err := a.connect(true)
		if err != nil {
			return err
		}
		id, err := cl.RestoreSwarm(c.Context(), from)
		if errors.Is(err, cnm.Invalid) {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		if err != nil {
			return err
		}
		if err := a.showAlone(c, fmt.Sprintf("Swarm restored: current node (%s) is now its only manager.", id)); err != nil {
			return err
		}
		s, err := cl.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
		if err != nil || !s.Swarm.Spec.EncryptionConfig.AutoLockManagers {
			return err
		}
		fmt.Fprintln(a.out)
		return a.showUnlockKey(c, false)
	}
	return c
}
