package demo

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/api"
	"weft/internal/nettool"
)

// sealed is what is wrong with a pretended encrypted network.
type sealed struct {
	unready   bool // peers never show that they have the keys
	unsealed  bool // nothing is sealed
	plain     bool // what leaves is not sealed
	mute      bool // nothing leaves for a dead node
	hushed    bool // nor on the network in clear
	otherKeys bool // the keys given out are none of those in use
	stuck     bool // rotate does nothing
	lossy     bool // packets are lost once keys were rotated
	keyless   bool // there is no key for some then
}

// A strongbox is the encrypted network of a pretended swarm.
type strongbox struct {
	vaulted int // where it was made, counted from 1
	safes   []bool

	mu     sync.Mutex // of what a transfer and a rotation both touch
	epoch  uint64
	sent   uint64 // bytes
	blocks uint64 // packets
}

func safeAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, byte(i + 2)}) }

func (p *pretender) vault(context.Context, string) error { p.vaulted = p.i + 1; return nil }

// wire sends a datagram to where a node listens or, being dead, did.
func (p *pretender) wire(to int, port uint16, b []byte) {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(underlay(to), port)))
	if err != nil {
		panic(err)
	}
	_, _ = c.Write(b) // who does not listen does not hear
	_ = c.Close()
}

func (p *pretender) pingSafe(to, count int) (nettool.PingResult, error) {
	r := nettool.PingResult{Sent: count}
	for i := range count {
		echo := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, nettool.ForgedEcho(safeAddr(p.i), safeAddr(to), uint16(i))...)
		switch {
		case p.dead[to] && p.plain:
			p.wire(to, p.ports.esp, echo)
		case p.dead[to] && !p.mute:
			p.wire(to, p.ports.esp, sealESP(pretendedKey, append(make([]byte, udpLen+vxlanLen), echo...)))
		case p.safes[to] && !p.dead[to] && !p.deaf:
			r.Received, r.RTTs = r.Received+1, append(r.RTTs, time.Millisecond)
		}
	}
	return r, nil
}

// pretendedKey is of AES-128 and has its salt behind it.
var pretendedKey = []byte("0123456789abcdefsalt")

// sealESP makes a packet of SPI 0x01020304, number 7.
func sealESP(key, payload []byte) []byte {
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	iv := []byte{0, 0, 0, 0, 0, 0, 0, 7}
	head := slices.Concat([]byte{1, 2, 3, 4, 0, 0, 0, 7}, iv)
	return aead.Seal(head, slices.Concat(key[16:], iv), append(slices.Clone(payload), 1, 1, nextUDP), []byte{1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 7})
}

func keyLine(key []byte) string {
	return fmt.Sprintf("\"IPv4\",\"127.0.0.1\",\"127.0.0.3\",\"0x01020304\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x%s\",\"NULL\",\"\"\n", hex.EncodeToString(key))
}

func (p *pretender) export(context.Context, string) (string, error) {
	key := bytes.Clone(pretendedKey)
	if p.otherKeys {
		key[0]++
	}
	return keyLine(key), nil
}

func (p *pretender) keys(context.Context) ([]api.KeyRing, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := api.KeyRing{Networks: []string{vault}}
	for i := range p.members {
		if i == p.i {
			continue
		}
		pair := api.KeyPair{Epoch: p.epoch, State: "sending", TxBytes: p.sent}
		if p.unsealed {
			pair.TxBytes = 0
		}
		k.Peers = append(k.Peers, api.KeyPeer{Name: fmt.Sprint("node", i+1), VTEP: netip.AddrPortFrom(underlay(i), p.ports.esp).String(), Ready: !p.unready, Pairs: []api.KeyPair{pair}})
	}
	return []api.KeyRing{k}, "PEER\n", nil
}

func (p *pretender) rotate(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stuck {
		p.epoch++
	}
	return nil
}

func (p *pretender) send(_ context.Context, _ string, _ netip.Addr, n uint64, _ bool) (nettool.Transfer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.blocks = p.sent+n, p.blocks+1
	return nettool.Transfer{Bytes: n, Took: time.Millisecond, Sum: [32]byte{1}}, nil
}

// carried: all goes from node 1 to node 2.
func (p *pretender) carried(context.Context, string) (map[netip.AddrPort]packetCounts, uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := swarmChapter{ports: p.ports}
	if p.i == 0 {
		return map[netip.AddrPort]packetCounts{c.vtep(1): {tx: p.blocks}}, 0, nil
	}
	came := p.blocks
	if p.lossy && p.epoch > 0 {
		came--
	}
	return map[netip.AddrPort]packetCounts{c.vtep(0): {rx: came}}, 0, nil
}

func (p *pretender) vaultTunnels() map[netip.AddrPort]map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, table := swarmChapter{ports: p.ports}, map[netip.AddrPort]map[string]uint64{}
	for i := range p.safes {
		if table[c.vtep(i)] = map[string]uint64{"split-horizon": 1}; p.keyless {
			table[c.vtep(i)]["no-key"] = p.epoch
		}
	}
	return table
}

// A packet is opened by its own key alone, and only if nobody touched it.
func TestOpenESP(t *testing.T) {
	payload := []byte("what was said")
	keys, err := readKeys(keyLine(pretendedKey))
	if err != nil {
		t.Fatal(err)
	}
	whole := sealESP(pretendedKey, payload)
	got, next, err := openESP(keys, whole)
	if err != nil || next != nextUDP || !bytes.Equal(got, payload) {
		t.Fatalf("%q, next header %d, %v", got, next, err)
	}
	for at := range whole {
		b := bytes.Clone(whole)
		b[at] ^= 1
		if got, _, err := openESP(keys, b); err == nil {
			t.Errorf("byte %d changed: opened as %q", at, got)
		}
	}
	for _, b := range [][]byte{nil, whole[:espHead+espICV-1], whole[:len(whole)-1]} {
		if got, _, err := openESP(keys, b); err == nil {
			t.Errorf("%d bytes: opened as %q", len(b), got)
		}
	}
	if _, _, err := openESP(keys, sealESP([]byte("another key of16salt"), payload)); err == nil {
		t.Error("opened by another key")
	}
}

func TestReadKeys(t *testing.T) {
	line := strings.TrimSuffix(keyLine(pretendedKey), "\n")
	for _, c := range []struct{ name, lines, want string }{
		{"one", line, ""},
		{"none", "", ""},
		{"no table", "hello", "is none of an SA"},
		{"another cipher", strings.Replace(line, "AES-GCM", "ChaCha20", 1), "is none of an SA"},
		{"no SPI", strings.Replace(line, "0x01020304", "spi", 1), "invalid syntax"},
		{"no key", strings.Replace(line, hex.EncodeToString(pretendedKey), "zz", 1), "invalid byte"},
		{"short key", strings.Replace(line, hex.EncodeToString(pretendedKey), "010203", 1), "exported line"},
		{"odd key", strings.Replace(line, hex.EncodeToString(pretendedKey), "0102030405", 1), "invalid key size"},
		{"quotes", `"`, "exported keys"},
	} {
		if _, err := readKeys(c.lines); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
