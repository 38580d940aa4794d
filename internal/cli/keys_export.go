package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// secretKeys is said before keys are given out.
const secretKeys = "WARNING! Whoever has these keys reads all that this node and its peers have sealed by them and will seal until they rotate, on all networks of one cipher."

func (a *app) keysExportCmd() *cobra.Command {
	var wireshark, yes bool
	var network string
	c := &cobra.Command{
		Use: "export [FLAGS] --wireshark", Short: "Print the keys of now, for Wireshark to open a capture of the underlay", Args: noArgs,
		Long: "Print the keys of now, one line for each security association, for Wireshark to open a capture of the underlay. Keys that come with the next\n" +
			"rotation are not among them, keys of networks that share a cipher are. Only the daemon's own Unix socket gives keys, and the daemon logs it.\n\n" +
			"Wireshark reads the file esp_sa in its configuration directory (Help, About, Folders), with \"Attempt to detect/decode encrypted ESP payloads\"\n" +
			"set in its preferences of ESP. Another port than 4500 has to be decoded as UDPENCAP.",
		Example: "  weft keys export --wireshark >> ~/.config/wireshark/esp_sa",
	}
	c.Flags().BoolVar(&wireshark, "wireshark", false, "As lines of Wireshark's table of ESP SAs")
	c.Flags().StringVar(&network, "network", "", "Only the keys of this network")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case !wireshark:
			return usagef(c, "in what form is missing: give --wireshark")
		case !yes && !isTerminal(a.in):
			return usagef(c, "keys are secrets, and there is no terminal to ask at: give -y if they are wanted")
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		// The answer goes where the keys do not: stdout may be a file.
		if !yes && !a.confirmOn(a.err, secretKeys) {
			return errAborted
		}
		keys, err := cl.ExportKeys(c.Context(), network)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return errors.New("there are no keys: no other node of an encrypted network that is in use here has announced any (weft keys ls shows whom is waited for)")
		}
		for _, k := range keys {
			if _, err := fmt.Fprintln(a.out, k.Wireshark); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.err, "weft: %d secret keys for Wireshark: append them to the file esp_sa in its configuration directory (~/.config/wireshark), and remove them when you are done\n", len(keys))
		return nil
	}
	return c
}
