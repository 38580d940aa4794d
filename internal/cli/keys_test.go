//go:build linux

package cli

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/api"
	"weft/internal/cnm"
	"weft/internal/node"
	"weft/ipsec"
)

func testRings(now time.Time) []api.KeyRing {
	return []api.KeyRing{
		{Networks: []string{"back", "front"}, Cipher: "aes-256-gcm", ESN: true, VTEP: netip.MustParseAddrPort("192.0.2.1:4500"), Epoch: 8,
			Since: now.Add(-time.Minute), Next: now.Add(3 * time.Hour), Peers: []api.KeyPeer{
				{ID: "2two", Name: "two", VTEP: "192.0.2.2:4500", Ready: true, Pairs: []api.KeyPair{
					{Epoch: 7, State: "sending", Since: now.Add(-2 * time.Hour), SAs: 6, TxBytes: 900, RxBytes: 50, TxPackets: 9, Replayed: 1, Generation: 4},
					{Epoch: 8, State: "receiving", Since: now.Add(-time.Second), SAs: 6, TxBytes: 100, RxBytes: 1950, Forged: 2},
				}},
				{ID: "3three", Name: "three"},
				{ID: "4four", Name: "four", VTEP: "192.0.2.4:4500", Pairs: []api.KeyPair{{Epoch: 8, State: "sending", Since: now.Add(-5 * time.Second), SAs: 4}}},
				{ID: "5five", Name: "five", VTEP: "192.0.2.5:4500"},
			}},
		{Networks: []string{"lab"}, Cipher: "chacha20-poly1305", Secret: "/s", VTEP: netip.MustParseAddrPort("192.0.2.1:4500"), Epoch: 39351, Since: now.Add(-time.Hour)},
		{Networks: []string{"six"}, Next: now, Peers: []api.KeyPeer{{ID: "[2001:db8::2]:4500"}}},
	}
}

func TestKeyListing(t *testing.T) {
	now := time.Now()
	rows := keyRecords(testRings(now), now)
	for _, c := range []struct {
		name, format string
		quiet        bool
		want         string
	}{
		{"table", "", false, "" +
			"NETWORKS     PEER                 ADDRESS          EPOCH     STATE     AGE             SAS       SENT      RECEIVED   REFUSED   NEXT ROTATION\n" +
			"back,front   two                  192.0.2.2:4500   7         ready     2 hours         12        1kB       2kB        3         in 3 hours\n" +
			"back,front   three                -                8         waiting   -               0         0B        0B         0         in 3 hours\n" +
			"back,front   four                 192.0.2.4:4500   8         waiting   5 seconds       4         0B        0B         0         in 3 hours\n" +
			"back,front   five                 192.0.2.5:4500   8         waiting   -               0         0B        0B         0         in 3 hours\n" +
			"lab          -                    -                39351     -         About an hour   0         0B        0B         0         -\n" +
			"six          [2001:db8::2]:4500   -                0         waiting   -               0         0B        0B         0         now\n"},
		{"quiet", "", true, "two\nthree\nfour\nfive\n-\n[2001:db8::2]:4500\n"},
		{"template", "{{.Peer}} {{.Generation}} {{.SentPackets}} {{.Replayed}} {{.Forged}} {{.Cipher}}", false, "two 4 9 1 2 aes-256-gcm\nthree 0 0 0 0 aes-256-gcm\n" +
			"four 0 0 0 0 aes-256-gcm\nfive 0 0 0 0 aes-256-gcm\n- 0 0 0 0 chacha20-poly1305\n[2001:db8::2]:4500 0 0 0 0 \n"},
		{"why", "{{.Why}}", false, "\nit has announced no key\nnothing has come from it yet\nit has announced no key of an epoch that is known here\n" +
			"no other node has its networks\nit has announced no key\n"},
	} {
		var b bytes.Buffer
		if err := keyListing().print(&b, c.format, c.quiet, rows); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, b.String(), c.want)
		}
	}
	f := listFlags{filters: mapFlag{m: map[string]string{"state": "waiting", "peer": "four"}}}
	if kept, err := f.keep((&app{}).keysCmd(), keyListing(), rows); err != nil || len(kept) != 1 || kept[0]["SAs"] != 4 {
		t.Errorf("filtered: %v, %v", kept, err)
	}
}

// Keys is the model's: one ring with one peer.
func (m *manager) Keys() []node.KeyRing {
	return []node.KeyRing{{Networks: []string{"front"}, Cipher: "aes-256-gcm", Epoch: 3, Peers: []node.KeyPeer{{ID: twoID, Name: "two", VTEP: "192.0.2.2:4500", Ready: true,
		Pairs: []ipsec.PairStatus{{Epoch: 3, State: ipsec.Sending, SAs: 6}}}}}}
}

// ExportKeys has a key of the network front, and none yet of the network alone.
func (m *manager) ExportKeys(network string) ([]ipsec.ExportedSA, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exported = append(m.exported, network)
	switch network {
	case "", "front":
		return []ipsec.ExportedSA{{From: netip.MustParseAddr("192.0.2.1"), To: netip.MustParseAddr("192.0.2.2"), SPI: 258, Algorithm: ipsec.AES256GCM, Key: []byte{1, 2}}}, nil
	case "alone":
		return nil, nil
	}
	return nil, cnm.Errorf(cnm.NotFound, "network %s not found", network)
}

// exportedLine is what Wireshark takes.
const exportedLine = `"IPv4","192.0.2.1","192.0.2.2","0x00000102","AES-GCM with 16 octet ICV [RFC4106]","0x0102","NULL",""` + "\n"

func TestKeysCommands(t *testing.T) {
	m := leads(t)
	if out := m.must(t, "keys", "--format", "{{.Networks}} {{.Peer}} {{.State}} {{.SAs}}"); out != "front two ready 6\n" {
		t.Errorf("lists %q", out)
	}
	if out := m.must(t, "keys", "ls", "--network", "front", "-q"); out != "two\n" {
		t.Errorf("lists %q", out)
	}
	if out := m.must(t, "keys", "ls", "--format", "json"); !strings.Contains(out, `"Networks":"front"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("lists %q", out)
	}
	m.fails(t, 1, `there are no keys for a network "back"`, "keys", "ls", "--network", "back")
	m.fails(t, 2, "not KEY=VALUE", "keys", "ls", "--filter", "x")
	m.fails(t, 2, "not a field of this listing", "keys", "ls", "--filter", "color=red")
	m.fails(t, 2, "takes no arguments", "keys", "ls", "front")
	m.fails(t, 2, `not a command of "weft keys", did you mean export?`, "keys", "exprot")

	m.fails(t, 2, "give --wireshark", "keys", "export", "-y")
	m.fails(t, 2, "give -y if they are wanted", "keys", "export", "--wireshark")
	m.fails(t, 2, "takes no arguments", "keys", "export", "--wireshark", "-y", "front")
	if len(m.exported) > 0 {
		t.Errorf("refused commands asked for keys: %q", m.exported)
	}
	m.fails(t, 1, "network nowhere not found", "keys", "export", "--wireshark", "-y", "--network", "nowhere")
	m.fails(t, 1, "there are no keys", "keys", "export", "--wireshark", "-y", "--network", "alone")
	for _, args := range []string{"", "--network front"} {
		code, out, errs := m.weft(t, append([]string{"keys", "export", "--wireshark", "-y"}, strings.Fields(args)...)...)
		if code != 0 || out != exportedLine || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "append them to the file esp_sa") {
			t.Errorf("%q: exit code %d, %q, %q", args, code, out, errs)
		}
	}
	if got := strings.Join(m.exported, ","); got != "nowhere,alone,,front" {
		t.Errorf("asked for the keys of %q", got)
	}
	m.fails(t, 1, "no daemon answers", "-H", "unix://"+filepath.Join(t.TempDir(), "s"), "keys", "export", "--wireshark", "-y")
}

// At a terminal keys are given out only after a yes, and the question is not among
// them.
func TestKeysExportAsks(t *testing.T) {
	for _, c := range []struct {
		name, typed string
		code        int
		out         string
	}{
		{"yes", "y\n", 0, exportedLine},
		{"no", "n\n", 1, ""},
		{"a word", "yes please\n", 1, ""},
		{"nothing", "\n", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := leads(t)
			master, slave := openTerminal(t)
			if _, err := master.WriteString(c.typed); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			code := Main([]string{"-H", m.sock, "keys", "export", "--wireshark"}, slave, &out, &errs)
			if code != c.code || out.String() != c.out || !strings.Contains(errs.String(), "WARNING! Whoever has these keys") || (len(m.exported) == 1) != (c.code == 0) {
				t.Errorf("exit code %d, %q, %q, asked for %q", code, out.String(), errs.String(), m.exported)
			}
		})
	}
}

// Help says what is rotated.
func TestRotationHelp(t *testing.T) {
	for _, line := range []string{"swarm update --help", "swarm rotate-keys --help", "swarm --help"} {
		if _, out, _ := weft(t, strings.Fields(line)...); !strings.Contains(out, "those of encrypted networks") {
			t.Errorf("%s: %s", line, out)
		}
	}
}
