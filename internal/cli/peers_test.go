package cli

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/api"
)

func TestPeersListing(t *testing.T) {
	rows := peerRecords([]api.PeerStats{
		{Network: "wide", VNI: 4097, Peer: netip.MustParseAddrPort("192.0.2.10:4789"), MTU: 1450},
		{Network: "wide", VNI: 4097, Peer: netip.MustParseAddrPort("192.0.2.2:4789"), MTU: 1450, Learned: 3, RxBytes: 700, RxPackets: 9, TxBytes: 90000,
			Drops: map[string]uint64{"too-big": 2, "write-blocked": 5}},
		{Network: "other", VNI: 4098, Peer: netip.MustParseAddrPort("[2001:db8::2]:4790"), MTU: 1388, Cipher: "aes-256-gcm"},
		{Network: "zone", VNI: 9, Peer: netip.MustParseAddrPort("192.0.2.2:4789"), Fault: "listen: address already in use"},
	})
	for _, c := range []struct {
		name, format string
		quiet        bool
		want         string
	}{
		{"table", "", false, "" +
			"NETWORK   VNI       PEER                 CIPHER        MTU       MACS      RX        TX        DROPPED   WHY\n" +
			"other     4098      [2001:db8::2]:4790   aes-256-gcm   1388      0         0B        0B        0         \n" +
			"wide      4097      192.0.2.2:4789       -             1450      3         700B      90kB      7         write-blocked=5 too-big=2\n" +
			"wide      4097      192.0.2.10:4789      -             1450      0         0B        0B        0         \n" +
			"zone      9         192.0.2.2:4789       -             0         0         0B        0B        0         no tunnel: weft doctor says why\n"},
		{"quiet", "", true, "[2001:db8::2]:4790\n192.0.2.2:4789\n192.0.2.10:4789\n192.0.2.2:4789\n"},
		{"template", "{{.Peer}} {{.RxPackets}} {{.TxBytes}}{{.Fault}}", false, "[2001:db8::2]:4790 0 0\n192.0.2.2:4789 9 90000\n192.0.2.10:4789 0 0\n192.0.2.2:4789 0 0listen: address already in use\n"},
	} {
		var b bytes.Buffer
		if err := peerListing().print(&b, c.format, c.quiet, rows); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, b.String(), c.want)
		}
	}
	cmd := (&app{}).peersCmd()
	f := listFlags{filters: mapFlag{m: map[string]string{"network": "wide", "peer": "192.0.2.2:4789"}}}
	if kept, err := f.keep(cmd, peerListing(), rows); err != nil || len(kept) != 1 || kept[0]["MACs"] != 3 {
		t.Errorf("filtered: %v, %v", kept, err)
	}
}

func TestUnderlayListing(t *testing.T) {
	var b bytes.Buffer
	rows := underlayRecords([]api.Underlay{{Addr: netip.MustParseAddrPort("192.0.2.1:4789"), SendRung: "gso", ReceiveRung: "recvmmsg",
		RxDatagrams: 9, TxDatagrams: 90, KernelDrops: 1, Drops: map[string]uint64{"unknown-vtep": 6}},
		{Addr: netip.MustParseAddrPort("192.0.2.1:4500"), ESP: true, SendRung: "gso", ReceiveRung: "gro", RxDatagrams: 3, Control: 1, Drops: map[string]uint64{"replayed": 2}},
		{Addr: netip.MustParseAddrPort("192.0.2.1:0"), ESP: true, InIP: true, SendRung: "sendmmsg", ReceiveRung: "recvmmsg", TxDatagrams: 4}})
	want := "" +
		"ADDRESS          CARRIES   SEND       RECEIVE    RX DATAGRAMS   TX DATAGRAMS   KERNEL DROPS   DROPPED   WHY\n" +
		"192.0.2.1:4789   vxlan     gso        recvmmsg   9              90             1              6         unknown-vtep=6\n" +
		"192.0.2.1:4500   esp       gso        gro        3              0              0              2         replayed=2\n" +
		"192.0.2.1        esp-ip    sendmmsg   recvmmsg   0              4              0              0         \n"
	if err := underlayListing().print(&b, "", false, rows); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b.String(), want)
	}
}

// A shell is offered drivers and options.
func TestNetworkCompletion(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"driver", "__complete network create --driver ov", "bridge overlay :4"},
		{"of an overlay", "__complete network create -d overlay -o weft.p", "com.docker.network.driver.mtu= com.docker.network.driver.overlay.vxlanid_list= encrypted weft.cipher= weft.esn= weft.multicast= weft.peers= weft.psk-file= weft.vni= :6"},
		{"of a bridge", "__complete network create -o ", "com.docker.network.bridge.enable_icc= "},
	} {
		code, stdout, _ := weft(t, strings.Split(c.line, " ")...)
		if code != 0 || !strings.HasPrefix(strings.Join(strings.Fields(stdout), " "), c.want) {
			t.Errorf("%s: %d %q, want %q", c.name, code, stdout, c.want)
		}
	}
}
