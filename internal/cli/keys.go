package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) keysCmd() *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use: "keys [ls]", Short: "List the keys of encrypted networks: with whom, of which epoch, what they sealed; or give them out",
		Long: "List the keys of encrypted networks, one row for each node that this one shares them with. A node is READY when it has shown that it can open\n" +
			"what this node seals; nothing reaches one that is WAITING. EPOCH and AGE are those of the keys that are sent by now; SAS counts the security\n" +
			"associations of both directions, one for each worker that sends and for each epoch that is still opened; SENT, RECEIVED and REFUSED what\n" +
			"went by them.",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		rings, err := cl.Keys(c.Context())
		if err != nil {
			return err
		}
		if f.network != "" {
			rings = slices.DeleteFunc(rings, func(r api.KeyRing) bool { return !slices.Contains(r.Networks, f.network) })
			if len(rings) == 0 {
				return fmt.Errorf("there are no keys for a network %q: expected one that is encrypted and in use on this node", f.network)
			}
		}
		return a.printList(c, &f, keyListing(), keyRecords(rings, time.Now()))
	}
	both := ls(c, &f, "Condition such as peer=node2, state=waiting, cipher=aes-256-gcm")
	for _, sub := range both.Commands() {
		sub.Long = c.Long
	}
	both.AddCommand(a.keysExportCmd())
	return both
}

func keyListing() listing {
	return listing{
		headings: headings{
			"Networks": "NETWORKS", "Peer": "PEER", "ID": "ID", "Address": "ADDRESS", "Epoch": "EPOCH", "State": "STATE", "Why": "WHY", "Age": "AGE",
			"SAs": "SAS", "Sent": "SENT", "Received": "RECEIVED", "SentBytes": "SENT BYTES", "ReceivedBytes": "RECEIVED BYTES",
			"SentPackets": "SENT PACKETS", "ReceivedPackets": "RECEIVED PACKETS", "Refused": "REFUSED", "Replayed": "REPLAYED", "Forged": "FORGED",
			"Next": "NEXT ROTATION", "NextAt": "NEXT ROTATION", "Since": "SINCE", "Cipher": "CIPHER", "ESN": "ESN", "Secret": "SECRET",
			"Generation": "GENERATION", "Own": "OWN ADDRESS",
		},
		table: `{{.Networks}}\t{{.Peer}}\t{{.Address}}\t{{.Epoch}}\t{{.State}}\t{{.Age}}\t{{.SAs}}\t{{.Sent}}\t{{.Received}}\t{{.Refused}}\t{{.Next}}`,
		quiet: "{{.Peer}}",
	}
}

// keyRecords are the rows: one for each peer of each ring, and one for a ring that has
// no peer yet.
func keyRecords(rings []api.KeyRing, now time.Time) []record {
	rows := make([]record, 0, len(rings))
	for _, k := range rings {
		if len(k.Peers) == 0 {
			r := ringRecord(&k, now)
			r["Why"] = "no other node has its networks"
			rows = append(rows, r)
		}
		for _, p := range k.Peers {
			rows = append(rows, peerKeyRecord(ringRecord(&k, now), &p, now))
		}
	}
	return rows
}

// ringRecord is the row of a ring without peers.
func ringRecord(k *api.KeyRing, now time.Time) record {
	return record{
		"Networks": strings.Join(k.Networks, ","), "Peer": "-", "ID": "", "Address": "-", "Epoch": k.Epoch, "State": "-", "Why": "", "Age": age(k.Since, now),
		"SAs": 0, "Sent": "0B", "Received": "0B", "SentBytes": uint64(0), "ReceivedBytes": uint64(0), "SentPackets": uint64(0), "ReceivedPackets": uint64(0),
		"Refused": uint64(0), "Replayed": uint64(0), "Forged": uint64(0), "Next": until(k.Next, now), "NextAt": k.Next, "Since": k.Since,
		"Cipher": k.Cipher, "ESN": k.ESN, "Secret": k.Secret, "Generation": uint64(0), "Own": k.VTEP.String(),
	}
}

// peerKeyRecord makes a peer's row of its ring's.
func peerKeyRecord(r record, p *api.KeyPeer, now time.Time) record {
	r["Peer"], r["ID"], r["Address"], r["State"] = cmp.Or(p.Name, p.ID), p.ID, cmp.Or(p.VTEP, "-"), "ready"
	switch {
	case p.VTEP == "":
		r["State"], r["Why"], r["Age"] = "waiting", "it has announced no key", "-"
	case len(p.Pairs) == 0:
		r["State"], r["Why"], r["Age"] = "waiting", "it has announced no key of an epoch that is known here", "-"
	case !p.Ready:
		r["State"], r["Why"] = "waiting", "nothing has come from it yet"
	}
	var sas int
	var tx, rx, txPackets, rxPackets, replayed, forged uint64
	for _, x := range p.Pairs {
		if x.State == "sending" {
			r["Epoch"], r["Age"], r["Since"], r["Generation"] = x.Epoch, age(x.Since, now), x.Since, x.Generation
		}
		sas, tx, rx, txPackets, rxPackets = sas+x.SAs, tx+x.TxBytes, rx+x.RxBytes, txPackets+x.TxPackets, rxPackets+x.RxPackets
		replayed, forged = replayed+x.Replayed, forged+x.Forged
	}
	r["SAs"], r["Sent"], r["Received"], r["SentBytes"], r["ReceivedBytes"] = sas, bytesText(tx), bytesText(rx), tx, rx
	r["SentPackets"], r["ReceivedPackets"] = txPackets, rxPackets
	r["Refused"], r["Replayed"], r["Forged"] = replayed+forged, replayed, forged
	return r
}

// age is how long ago a moment was, "-" for none.
func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return units.HumanDuration(now.Sub(since))
}

// until is how far a moment is, "-" for one that is not known.
func until(at, now time.Time) string {
	switch d := at.Sub(now); {
	case at.IsZero():
		return "-"
	case d < time.Second:
		return "now"
	default:
		return "in " + strings.ToLower(units.HumanDuration(d))
	}
}
