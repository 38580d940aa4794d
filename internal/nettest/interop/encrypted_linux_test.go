package interop

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/nettest"
	"weft/ipsec"
)

// mark is in what the box sends, and must be in nothing that the underlay carries.
const mark = "weftmark"

// encryptedPair joins a node in this process and a daemon in "far" by an encrypted
// static overlay, and returns the address of the far one's box.
func encryptedPair(t *testing.T, options ...string) (n *testNode, far string) {
	t.Helper()
	cable(t)
	wireOnly(t, "", "u0")
	wireOnly(t, "far", "u1")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple"), 0o600); err != nil {
		t.Fatal(err)
	}
	options = append(options, "encrypted", "", "weft.psk-file", secret)
	n = openNode(t, near4)
	n.overlay(t, there4, options...)
	n.serve(t)
	d := startDaemon(t, "far", "--advertise-addr", there4)
	create := []string{"network", "create", "-d", "overlay", "--subnet", "10.66.20.0/24", "--ip-range", "10.66.20.192/28", "-o", "weft.vni=4097", "-o", "weft.peers=" + near4}
	for i := 0; i < len(options); i += 2 {
		create = append(create, "-o", strings.TrimSuffix(options[i]+"="+options[i+1], "=")) // as "encrypted", alone
	}
	d.do(t, append(create, "over")...)
	d.do(t, "run", "-d", "--name", "box", "--network", "over", "--", weft(), "tool", "serve")
	far = d.do(t, "inspect", "-f", `{{(index .NetworkSettings.Networks "over").IPAddress}}`, "box")
	eventually(t, 10*time.Second, "the far box answers", func() bool { _, ok := n.box(t, "ping", "-c", "1", "-W", "1", far); return ok })
	return n, far
}

// recordAll is record of all that an interface carries.
func recordAll(t *testing.T, name string) (file string, done func()) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "all.pcap")
	b := start(t, in("far", "dumpcap", "-P", "-q", "-B", "32", "-i", name, "-w", file)...)
	eventually(t, 10*time.Second, "dumpcap listens", func() bool { return strings.Contains(b.out.String(), "File: ") })
	return file, func() {
		t.Helper()
		time.Sleep(200 * time.Millisecond) // for what it has not read yet
		_ = b.process.Process.Signal(syscall.SIGINT)
		b.stop(t)
	}
}

// encryptedTraffic sends the mark, a transfer, and the largest packet there may be, and
// returns the capture of it.
func encryptedTraffic(t *testing.T, n *testNode, far string) (file string) {
	t.Helper()
	file, done := recordAll(t, "u1")
	n.mustBox(t, "ping", "-c", "3", "-i", "0.2", "-W", "2", "-p", hex.EncodeToString([]byte(mark)), "-s", "200", far)
	n.mustBox(t, "ping", "-c", "1", "-W", "2", "-s", "1380", "-M", "do", far)
	n.mustBox(t, weft(), "tool", "send", "-m", "1", far)
	done()
	return file
}

// unreadable fails the test if a capture shows anything of what was sent.
func unreadable(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 1<<20 || bytes.Contains(b, []byte(mark)) {
		t.Errorf("a capture of %d bytes has what was sent in it: %v", len(b), bytes.Contains(b, []byte(mark)))
	}
	if out := tshark(t, file, "-Y", "udp.port == 4789 || vxlan || ip.addr == 10.66.20.0/24 || arp.src.proto_ipv4 == 10.66.20.0/24 || icmp || tcp"); out != "" {
		t.Errorf("in clear:\n%.1000s", out)
	}
	if out := tshark(t, file, "-Y", "ip.flags.mf == 1 || ip.frag_offset > 0 || frame.len > 1514"); out != "" {
		t.Errorf("in fragments, or too long:\n%.1000s", out)
	}
	if out := tshark(t, file, "-Y", "esp && frame.len == 1514"); out == "" {
		t.Error("no packet fills the underlay")
	}
}

// TestEncryptedTshark has Wireshark decrypt and authenticate a live capture by the lines
// that a node exports.
func TestEncryptedTshark(t *testing.T) {
	needs(t, "tshark", "dumpcap")
	isolated(t, func(t *testing.T) {
		n, far := encryptedPair(t, "weft.esn", "off")
		file := encryptedTraffic(t, n, far)
		unreadable(t, file)
		keys, err := n.ExportKeys("over")
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"}
		for i := range keys {
			args = append(args, "-o", "uat:esp_sa:"+keys[i].Wireshark())
		}
		count := func(filter string) int {
			t.Helper()
			return strings.Count(tshark(t, file, append(args, "-Y", filter)...), "\n")
		}
		all := count("esp")
		if good, bad := count("esp.icv_good == 1"), count("esp.icv_bad == 1"); all < 700 || good != all || bad != 0 {
			t.Errorf("of %d packets %d have a good ICV, %d a bad one", all, good, bad)
		}
		if got := count("vxlan.vni == 4097 && icmp && frame contains \"" + mark + "\""); got != 0 {
			t.Errorf("the frame itself shows what is in it, %d times", got) // that is about the bytes on the wire
		}
		if echo, data := count("vxlan.vni == 4097 && icmp && data.data contains \""+mark+"\""), count("vxlan.vni == 4097 && tcp.len > 1000"); echo != 6 || data < 700 {
			t.Errorf("%d echo messages with the mark and %d segments were decrypted, expected 6 and 700", echo, data)
		}
	})
}

// liveScript opens all ESP packets of a capture by the SAs that it is given.
const liveScript = `
import sys, json
from scapy.all import PcapReader, IP, UDP, raw
from scapy.layers.ipsec import SecurityAssociation, ESP
job = json.load(sys.stdin)
sas = {}
for s in job["sas"]:
    sas[s["spi"]] = SecurityAssociation(ESP, spi=s["spi"], crypt_algo="AES-GCM", crypt_key=bytes.fromhex(s["key"]), crypt_icv_size=16,
        nat_t_header=UDP(sport=4500, dport=4500), esn_en=job["esn"], esn=0)
good = bad = marked = 0
for p in PcapReader(job["file"]):
    if not p.haslayer(UDP) or p[UDP].dport != 4500:
        continue
    data = raw(p[UDP].payload)
    if data[:4] == b"\0\0\0\0" or len(data) < 20:
        continue
    sa = sas.get(int.from_bytes(data[:4], "big"))
    try:
        inner = raw(sa.decrypt(IP(raw(p[IP]))).payload)
    except Exception as e:
        bad += 1
        continue
    good += 1
    marked += job["mark"].encode() in inner
json.dump([good, bad, marked], sys.stdout)
`

// TestEncryptedScapy has Scapy authenticate a live capture with extended sequence
// numbers, and refuse it without.
func TestEncryptedScapy(t *testing.T) {
	needs(t, "tshark", "dumpcap")
	const python = "/usr/bin/python3" // that of the distribution, which has the package
	if err := exec.Command(python, "-c", "import scapy.layers.ipsec, cryptography").Run(); err != nil {
		nettest.Skip(t, "no scapy for %s: %v (internal/nettest/setup.sh installs it)", python, err)
	}
	isolated(t, func(t *testing.T) {
		n, far := encryptedPair(t)
		file := encryptedTraffic(t, n, far)
		unreadable(t, file)
		keys, err := n.ExportKeys("over")
		if err != nil {
			t.Fatal(err)
		}
		if got := scapyOpens(t, python, file, keys, true); got[0] < 700 || got[1] != 0 || got[2] != 6 {
			t.Errorf("scapy opened %d packets and refused %d; %d have the mark, expected 6", got[0], got[1], got[2])
		}
		if got := scapyOpens(t, python, file, keys, false); got[0] != 0 || got[1] < 700 {
			t.Errorf("without ESN scapy opened %d packets and refused %d", got[0], got[1])
		}
	})
}

func scapyOpens(t *testing.T, python, file string, keys []ipsec.ExportedSA, esn bool) (counts [3]int) {
	t.Helper()
	var sas []map[string]any
	for _, k := range keys {
		sas = append(sas, map[string]any{"spi": k.SPI, "key": hex.EncodeToString(k.Key)})
	}
	in, err := json.Marshal(map[string]any{"sas": sas, "file": file, "esn": esn, "mark": mark})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(python, "-c", liveScript)
	c.Stdin, c.Stderr = bytes.NewReader(in), os.Stderr
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &counts)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, out))
	}
	return counts
}

// TestEncryptedMTU: what an underlay of 1,500 bytes carries sealed is a packet of 1,408;
// one more is answered with that.
func TestEncryptedMTU(t *testing.T) {
	isolated(t, func(t *testing.T) {
		n, far := encryptedPair(t, "com.docker.network.driver.mtu", "1500")
		if mtu := n.peer(t).MTU; mtu != 1408 {
			t.Errorf("the tunnel's MTU is %d", mtu)
		}
		n.mustBox(t, "ping", "-c", "1", "-W", "2", "-s", "1380", "-M", "do", far)
		if out, ok := n.box(t, "ping", "-c", "1", "-W", "2", "-s", "1381", "-M", "do", far); ok || !strings.Contains(strings.ReplaceAll(out, " ", ""), "mtu=1408") {
			t.Errorf("1,409 bytes: %v\n%s", ok, out)
		}
		n.mustBox(t, "ping", "-c", "1", "-W", "2", "-s", "1380", "-M", "do", far)
	})
}
