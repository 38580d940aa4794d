package ipsec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// scapyScript opens packets of ours and seals datagrams for us. It reads a list of
// jobs and writes the list of their results.
const scapyScript = `
import sys, json
from scapy.all import IP, IPv6, UDP, raw
from scapy.layers.ipsec import SecurityAssociation, ESP
results = []
for j in json.load(sys.stdin):
    sa = SecurityAssociation(ESP, spi=j["spi"], crypt_algo=j["algorithm"], crypt_key=bytes.fromhex(j["key"]), crypt_icv_size=16,
        nat_t_header=UDP(sport=4500, dport=4500) if j["udp"] else None, esn_en=j["esn"], esn=j["high"])
    cls = IPv6 if j["v6"] else IP
    try:
        if j["packet"]:
            results.append(raw(sa.decrypt(cls(bytes.fromhex(j["packet"]))).payload).hex())
        else:
            ip = cls(src=j["src"], dst=j["dst"]) / UDP(bytes.fromhex(j["datagram"]))
            results.append(raw(sa.encrypt(ip, seq_num=j["seq"])).hex())
    except Exception as e:
        results.append("refused: " + type(e).__name__)
json.dump(results, sys.stdout)
`

type scapyJob struct {
	SPI       uint32 `json:"spi"`
	Algorithm string `json:"algorithm"`
	Key       string `json:"key"`
	UDP       bool   `json:"udp"`
	ESN       bool   `json:"esn"`
	High      uint32 `json:"high"`
	V6        bool   `json:"v6"`
	Src       string `json:"src"`
	Dst       string `json:"dst"`
	Packet    string `json:"packet"`
	Datagram  string `json:"datagram"`
	Seq       int    `json:"seq"`
}

func (c *oracleCase) job() scapyJob {
	m := c.material()
	src, dst := c.addrs()
	name := "AES-GCM"
	if c.algorithm == ChaCha20Poly1305 {
		name = "CHACHA20-POLY1305"
	}
	return scapyJob{SPI: m.spi, Algorithm: name, Key: hex.EncodeToString(append(m.key, m.salt[:]...)), UDP: c.encapsulation == InUDP,
		ESN: c.esn, High: c.high, V6: c.v6, Src: src.String(), Dst: dst.String()}
}

func scapy(t *testing.T, jobs []scapyJob) (results []string) {
	t.Helper()
	const python = "/usr/bin/python3" // that of the distribution, which has the package
	if err := exec.Command(python, "-c", "import scapy.layers.ipsec, cryptography").Run(); err != nil {
		nettest.Skip(t, "no scapy for %s: %v", python, err)
	}
	in, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", scapyScript)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(jobs) {
		t.Fatalf("%d results of %d jobs, %v", len(results), len(jobs), err)
	}
	return results
}

// TestScapyOpens has scapy open what we seal, and refuse what was changed.
func TestScapyOpens(t *testing.T) {
	var jobs []scapyJob
	var want []string
	for _, c := range oracleCases {
		packets, datagrams := c.packets(t)
		for i, p := range packets {
			j := c.job()
			j.Packet = hex.EncodeToString(p)
			jobs, want = append(jobs, j), append(want, hex.EncodeToString(datagrams[i]))
		}
		j := c.job()
		packets[0][len(packets[0])-1] ^= 1
		j.Packet = hex.EncodeToString(packets[0])
		jobs, want = append(jobs, j), append(want, "refused: IPSecIntegrityError")
		if c.esn {
			j.Packet = hex.EncodeToString(packets[1])
			j.High++
			jobs, want = append(jobs, j), append(want, "refused: IPSecIntegrityError")
		}
	}
	for i, got := range scapy(t, jobs) {
		if got != want[i] {
			t.Errorf("job %d (%s, ESN %v, UDP %v): %s, want %s", i, jobs[i].Algorithm, jobs[i].ESN, jobs[i].UDP, got, want[i])
		}
	}
}

// TestScapySeals opens what scapy sealed, with IVs of its own making.
func TestScapySeals(t *testing.T) {
	var jobs []scapyJob
	for _, c := range oracleCases {
		for i := range oracleCount {
			j := c.job()
			j.Datagram, j.Seq = hex.EncodeToString(datagram(t, i)), i+1
			jobs = append(jobs, j)
		}
	}
	results := scapy(t, jobs)
	for n, c := range oracleCases {
		t.Run(c.name, func(t *testing.T) {
			in := testInbound(t, c.material())
			src, _ := c.addrs()
			in.vtep = netip.AddrPortFrom(src, 4500)
			in.window.advance(c.before())
			table, _ := NewTable([]*Inbound{in})
			for i, s := range results[n*oracleCount : (n+1)*oracleCount] {
				got, r := NewOpener().Open(table, src, c.uncarried(unhex(t, s)))
				if r != frame.NotDropped || !bytes.Equal(got.Payload, datagram(t, i)) || got.Next != NextUDP {
					t.Errorf("packet %d: %v, %x", i, r, got.Payload)
				}
			}
		})
	}
}
