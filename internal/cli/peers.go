package cli

import (
	"cmp"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/api"
)

func (a *app) peersCmd() *cobra.Command {
	var f listFlags
	var underlay bool
	c := &cobra.Command{
		Use: "peers [ls]", Short: "List the overlays' remote VTEPs: what came from each, what went to it, what was dropped",
		Long: "List the overlays' remote VTEPs. RX is what came from a peer, TX what went to it, CIPHER what seals it (- is in clear), MTU\n" +
			"what fits into one datagram to it, MACS how many addresses were learned behind it. --underlay lists the sockets that carry\n" +
			"the overlays instead; CARRIES says which: those in clear (vxlan), or the encrypted ones, in UDP (esp) or in IP (esp-ip).",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if underlay && f.network != "" {
			return usagef(c, "--underlay and --network exclude each other: all networks share the sockets")
		}
		cl, err := a.connect(false)
		if err != nil {
			return err
		}
		p, err := cl.Peers(c.Context(), f.network)
		if err != nil {
			return err
		}
		if underlay {
			return a.printList(c, &f, underlayListing(), underlayRecords(p.Underlays))
		}
		return a.printList(c, &f, peerListing(), peerRecords(p.Peers))
	}
	both := ls(c, &f, "Condition such as network=wide, vni=4097, peer=192.0.2.2:4789")
	for _, cmd := range append(both.Commands(), both) {
		cmd.Long = c.Long
		cmd.Flags().BoolVar(&underlay, "underlay", false, "List the sockets instead")
	}
	return both
}

func peerListing() listing {
	return listing{
		headings: headings{
			"Network": "NETWORK", "VNI": "VNI", "Peer": "PEER", "MTU": "MTU", "MACs": "MACS", "RxSize": "RX", "TxSize": "TX",
			"RxFrames": "RX FRAMES", "RxPackets": "RX PACKETS", "RxBytes": "RX BYTES", "TxFrames": "TX FRAMES", "TxPackets": "TX PACKETS",
			"TxBytes": "TX BYTES", "Dropped": "DROPPED", "Drops": "WHY", "Fault": "FAULT", "Cipher": "CIPHER",
		},
		table: `{{.Network}}\t{{.VNI}}\t{{.Peer}}\t{{.Cipher}}\t{{.MTU}}\t{{.MACs}}\t{{.RxSize}}\t{{.TxSize}}\t{{.Dropped}}\t{{.Drops}}`,
		quiet: "{{.Peer}}",
	}
}

// peerRecords are the rows, by network, VNI and address.
func peerRecords(peers []api.PeerStats) []record {
	slices.SortStableFunc(peers, func(x, y api.PeerStats) int {
		if d := compareNatural(x.Network, y.Network); d != 0 {
			return d
		}
		if x.VNI != y.VNI {
			return int(x.VNI) - int(y.VNI)
		}
		return x.Peer.Compare(y.Peer)
	})
	rows := make([]record, 0, len(peers))
	for _, p := range peers {
		total, why := drops(p.Drops)
		if p.Fault != "" {
			why = "no tunnel: weft doctor says why"
		}
		rows = append(rows, record{
			"Network": p.Network, "VNI": p.VNI, "Peer": p.Peer.String(), "MTU": p.MTU, "MACs": p.Learned,
			"RxFrames": p.RxFrames, "RxPackets": p.RxPackets, "RxBytes": p.RxBytes, "RxSize": bytesText(p.RxBytes),
			"TxFrames": p.TxFrames, "TxPackets": p.TxPackets, "TxBytes": p.TxBytes, "TxSize": bytesText(p.TxBytes),
			"Dropped": total, "Drops": why, "Fault": p.Fault,
			"Cipher": cmp.Or(p.Cipher, "-"),
		})
	}
	return rows
}

func underlayListing() listing {
	return listing{
		headings: headings{
			"Address": "ADDRESS", "Carries": "CARRIES", "Control": "CONTROL", "Send": "SEND", "Receive": "RECEIVE", "RxDatagrams": "RX DATAGRAMS", "TxDatagrams": "TX DATAGRAMS",
			"GROMessages": "GRO MESSAGES", "GSOMessages": "GSO MESSAGES", "KernelDrops": "KERNEL DROPS", "Dropped": "DROPPED", "Drops": "WHY",
		},
		table: `{{.Address}}\t{{.Carries}}\t{{.Send}}\t{{.Receive}}\t{{.RxDatagrams}}\t{{.TxDatagrams}}\t{{.KernelDrops}}\t{{.Dropped}}\t{{.Drops}}`,
		quiet: "{{.Address}}",
	}
}

func underlayRecords(underlays []api.Underlay) []record {
	rows := make([]record, 0, len(underlays))
	for _, u := range underlays {
		total, why := drops(u.Drops)
		carries, at := "vxlan", u.Addr.String()
		switch {
		case u.InIP:
			carries, at = "esp-ip", u.Addr.Addr().String()
		case u.ESP:
			carries = "esp"
		}
		rows = append(rows, record{
			"Address": at, "Carries": carries, "Control": u.Control, "Send": u.SendRung, "Receive": u.ReceiveRung, "RxDatagrams": u.RxDatagrams, "TxDatagrams": u.TxDatagrams,
			"GROMessages": u.GROMessages, "GSOMessages": u.GSOMessages, "KernelDrops": u.KernelDrops, "Dropped": total, "Drops": why,
		})
	}
	return rows
}
