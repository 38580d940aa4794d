package vxlan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/frame"
	"weft/ipsec"
)

// A sealed end is one node of a pair that talks by ESP.
type sealedEnd struct {
	*Socket
	peer *ipsec.Peer // the other's
	pair *ipsec.Pair
	q    *LinkQueue
}

// sealedPair opens two sockets for ESP that know each other's keys and testVNI,
// which is port 7 on both.
func sealedPair(t testing.TB, from, to string, esn bool, change ...func(*Config)) (a, b *sealedEnd) {
	t.Helper()
	change = append(change, func(c *Config) { c.ESP = true })
	ends := [2]*sealedEnd{{Socket: listen(t, from, change...)}, {Socket: listen(t, to, change...)}}
	var keys [2]*ipsec.EpochKey
	best, _ := ipsec.ProbeAES()
	ways := [2]ipsec.AES{{}, best} // one end does not see which the other has
	if _, ok := t.(*testing.B); ok {
		ways[0] = best
	}
	for i, e := range ends {
		vtep := e.Addr()
		if vtep.Port() == 0 { // ESP in IP has none
			vtep = netip.AddrPortFrom(vtep.Addr(), uint16(ipsec.Port+i))
		}
		key, err := ipsec.NewEpochKey(ipsec.Announcement{
			Node: vtep.String(), VTEP: vtep, Generation: 1, Epoch: 1, Algorithm: ipsec.AES256GCM, ESN: esn, Workers: min(max(2, e.cfg.Workers), ipsec.MaxWorkers),
		}, ways[i])
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	for i, e := range ends {
		other := ends[1-i]
		var err error
		if e.pair, err = keys[i].Pair(keys[1-i].Announcement()); err != nil {
			t.Fatal(err)
		}
		e.peer = ipsec.NewPeer(0, 0)
		e.peer.Add(e.pair, time.Now())
		table, _ := ipsec.NewTable(e.peer.Inbound(nil))
		e.SetSAs(table)
		e.SetTable(NewTable([]Route{{Keys: e.peer, VNI: testVNI, Port: 7}}))
		e.q = e.NewSealedLink(other.Addr(), testVNI, e.peer).Queues()[0]
	}
	return ends[0], ends[1]
}

// What is sealed on one side is opened on the other, byte for byte, in runs and one
// by one, and leaves as one message per run.
func TestSealed(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to string
		esn      bool
		change   func(*Config)
		data     [][]byte
		merged   bool
	}{
		{"one", "127.0.0.1", "127.0.0.2", true, func(*Config) {}, udp(1, 100, 1), false},
		{"run", "127.0.0.1", "127.0.0.2", true, func(*Config) {}, udp(44, 1380, 1), true},
		{"run and a rest", "127.0.0.1", "127.0.0.2", false, func(*Config) {}, append(udp(10, 1380, 1), udp(1, 17, 1)...), true},
		{"all sizes", "127.0.0.1", "127.0.0.2", true, func(*Config) {}, slices.Concat(udp(1, 1, 1), udp(1, 2, 1), udp(1, 3, 1), udp(1, 4, 1), udp(1, 5, 1)), true},
		{"no GSO, no GRO", "127.0.0.1", "127.0.0.2", true, func(c *Config) { c.NoGSO, c.NoGRO = true, true }, udp(44, 1380, 1), false},
		{"IPv6", "::1", "::1", true, func(*Config) {}, udp(44, 1380, 1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := sealedPair(t, c.from, c.to, c.esn, c.change)
			fs := list(t, c.data...)
			if refused := writeAll(t, a.q, fs); len(refused) != 0 {
				t.Fatal(refused)
			}
			sameFrames(t, collect(t, b.Socket, len(c.data)), c.data)
			conserved(t, b.Socket)
			st := a.Stats()
			if merged := st.SentMerged > 0; merged != c.merged || st.SentDatagrams != uint64(len(c.data)) {
				t.Errorf("sent %+v", st)
			}
			for i, f := range fs {
				if !bytes.Equal(f.Bytes(), c.data[i]) {
					t.Errorf("frame %d is not as it was", i)
				}
			}
		})
	}
}

// A frame has room for headers and trailer around it, or lies between others that must
// stay as they are, as what was received does; and it may be sealed for several.
func TestSealedRoom(t *testing.T) {
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true)
	data := append(udp(20, 1380, 1), udp(1, 17, 1)...)
	var mem []byte
	for _, d := range data {
		mem = append(append(mem, "what is in front"...), d...)
	}
	before, batch := bytes.Clone(mem), frame.NewBatch()
	var lent []*frame.Frame
	for at := 0; at < len(mem); {
		at += sealedHeaders
		f := batch.Lend(mem, at, len(data[len(lent)]))
		if r := f.Parse(); r != frame.NotDropped {
			t.Fatal(r)
		}
		at += f.Len()
		lent = append(lent, f)
	}
	roomy := list(t, data...)
	for _, fs := range [][]*frame.Frame{lent, roomy, roomy} {
		if refused := writeAll(t, a.q, fs); len(refused) != 0 {
			t.Fatal(refused)
		}
		sameFrames(t, collect(t, b.Socket, len(data)), data)
	}
	conserved(t, b.Socket)
	if !bytes.Equal(mem, before) {
		t.Error("lent memory was written to")
	}
	for i, f := range roomy {
		if !bytes.Equal(f.Bytes(), data[i]) {
			t.Errorf("frame %d is not as it was", i)
		}
	}
}

// A node has more workers than SAs where it has many processors: some share one, and
// what each of them sends is opened.
func TestSealedManyWorkers(t *testing.T) {
	const workers = ipsec.MaxWorkers + 2
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true, func(c *Config) { c.Workers = workers })
	queues := a.NewSealedLink(b.Addr(), testVNI, a.peer).Queues()
	data := udp(1, 100, 1)
	var done sync.WaitGroup
	for i, q := range queues {
		fs := list(t, data...)
		done.Go(func() {
			if n, err := q.WriteBatch(fs); n != 1 {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	done.Wait()
	sameFrames(t, collect(t, b.Socket, workers), slices.Repeat(data, workers))
	conserved(t, b.Socket)
	if n := a.pair.Outbound(0).Packets(); n != 2 {
		t.Errorf("%d packets by the SA that two workers share", n)
	}
}

// Without a key nothing leaves.
func TestSealedWithoutKey(t *testing.T) {
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true)
	q := a.NewSealedLink(b.Addr(), testVNI, ipsec.NewPeer(0, 0)).Queues()[0]
	data := udp(3, 100, 1)
	refused := writeAll(t, q, list(t, data...))
	for _, d := range data {
		if err := refused[string(d)]; !errors.Is(err, frame.ErrNoKey) {
			t.Errorf("a frame without a key: %v", err)
		}
	}
	if st := a.Stats(); st.Calls != 0 {
		t.Errorf("something was sent: %+v", st)
	}
	if wait(t, b.FD(), 50*time.Millisecond) {
		t.Error("something arrived")
	}
}

// seal makes a packet of the first worker's SA, to be sent by hand.
func (e *sealedEnd) seal(t *testing.T, next uint8, payload []byte) []byte {
	t.Helper()
	b := make([]byte, ipsec.MaxPacket)
	n, r := ipsec.NewSealer().Seal(e.pair.Outbound(0), b, next, payload)
	if r != frame.NotDropped {
		t.Fatal(r)
	}
	return b[:n]
}

// inner is the payload of a packet: VXLAN's datagram.
func inner(vni uint32, data []byte) []byte {
	d := encapsulated(vni, data)
	b := make([]byte, udpLen, udpLen+len(d))
	binary.BigEndian.PutUint16(b[2:], Port)
	binary.BigEndian.PutUint16(b[4:], uint16(udpLen+len(d)))
	return append(b, d...)
}

// Everything but an authentic packet of a known network is dropped under its own
// name, and what is not meant to hold a frame is not dropped at all.
func TestSealedRefused(t *testing.T) {
	data := udp(1, 100, 1)[0]
	for _, c := range []struct {
		name   string
		packet func(t *testing.T, a, b *sealedEnd) []byte
		want   frame.Reason // NotDropped: control
	}{
		{"VXLAN in clear", func(*testing.T, *sealedEnd, *sealedEnd) []byte { return encapsulated(testVNI, udp(1, 102, 1)[0]) }, frame.UnknownSPI},
		{"a bit of the ICV", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := a.seal(t, ipsec.NextUDP, inner(testVNI, data))
			p[len(p)-1] ^= 1
			return p
		}, frame.BadICV},
		{"a bit of the payload", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := a.seal(t, ipsec.NextUDP, inner(testVNI, data))
			p[40] ^= 1
			return p
		}, frame.BadICV},
		{"a bit of the number", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := a.seal(t, ipsec.NextUDP, inner(testVNI, data))
			p[7] ^= 2
			return p
		}, frame.BadICV},
		{"cut", func(t *testing.T, a, _ *sealedEnd) []byte { return a.seal(t, ipsec.NextUDP, inner(testVNI, data))[:60] }, frame.BadICV},
		{"cut in a word", func(t *testing.T, a, _ *sealedEnd) []byte {
			return a.seal(t, ipsec.NextUDP, inner(testVNI, data))[:61]
		}, frame.BadESP},
		{"short", func(*testing.T, *sealedEnd, *sealedEnd) []byte { return []byte{1, 2, 3, 4, 5} }, frame.BadESP},
		{"forged SPI", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := a.seal(t, ipsec.NextUDP, inner(testVNI, data))
			p[0] ^= 1
			return p
		}, frame.UnknownSPI},
		{"wrong direction", func(t *testing.T, _, b *sealedEnd) []byte { return b.seal(t, ipsec.NextUDP, inner(testVNI, data)) }, frame.UnknownSPI},
		{"another network", func(t *testing.T, a, _ *sealedEnd) []byte {
			return a.seal(t, ipsec.NextUDP, inner(testVNI+1, data))
		}, frame.UnknownVNI},
		{"another protocol", func(t *testing.T, a, _ *sealedEnd) []byte { return a.seal(t, 4, inner(testVNI, data)) }, frame.BadESP},
		{"another port", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := inner(testVNI, data)
			p[3]++
			return a.seal(t, ipsec.NextUDP, p)
		}, frame.BadESP},
		{"a length that lies", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := inner(testVNI, data)
			p[5]++
			return a.seal(t, ipsec.NextUDP, p)
		}, frame.BadESP},
		{"no VXLAN", func(t *testing.T, a, _ *sealedEnd) []byte {
			p := inner(testVNI, data)
			p[8] = 0
			return a.seal(t, ipsec.NextUDP, p)
		}, frame.BadVXLAN},
		{"dummy", func(t *testing.T, a, _ *sealedEnd) []byte { return a.seal(t, ipsec.NextNone, []byte{1, 2, 3}) }, frame.NotDropped},
		{"keepalive", func(*testing.T, *sealedEnd, *sealedEnd) []byte { return []byte{0xff} }, frame.NotDropped},
		{"marked", func(*testing.T, *sealedEnd, *sealedEnd) []byte { return []byte("\x00\x00\x00\x00hello") }, frame.NotDropped},
	} {
		t.Run(c.name, func(t *testing.T) {
			var marked []byte
			a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true, func(c *Config) {
				c.Marked = func(_ netip.AddrPort, d []byte) { marked = bytes.Clone(d) }
			})
			if err := a.Send(b.Addr(), c.packet(t, a, b)); err != nil {
				t.Fatal(err)
			}
			if came := collect(t, b.Socket, 1); len(came) != 0 {
				t.Errorf("it was accepted: %v", came)
			}
			st := b.Stats()
			if c.want == frame.NotDropped && st.Control != 1 || c.want != frame.NotDropped && st.Drops[c.want] != 1 {
				t.Errorf("control %d, drops %v, expected %v", st.Control, st.Drops, c.want)
			}
			conserved(t, b.Socket)
			if c.name == "marked" && string(marked) != "hello" {
				t.Errorf("marked: %q", marked)
			}
		})
	}
}

// A packet that came once does not come again, nor from another address.
func TestSealedReplay(t *testing.T) {
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true)
	p := a.seal(t, ipsec.NextUDP, inner(testVNI, udp(1, 100, 1)[0]))
	_, far := stranger(t, "127.0.0.3", b.Addr())
	far(p)
	for range 2 {
		if err := a.Send(b.Addr(), p); err != nil {
			t.Fatal(err)
		}
	}
	if came := collect(t, b.Socket, 1); len(came) != 1 {
		t.Errorf("%d frames came", len(came))
	}
	if st := b.Stats(); st.Drops[frame.Replayed] != 1 || st.Drops[frame.UnknownSPI] != 1 {
		t.Errorf("drops %v", st.Drops)
	}
}

// On a socket for what is in clear an encrypted network has a reason of its own.
func TestClearOnSealedNetwork(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	b.SetTable(NewTable([]Route{{Peer: a.Addr(), VNI: testVNI, Port: 7, Sealed: true}}))
	writeAll(t, q, list(t, udp(2, 100, 1)...))
	if came := collect(t, b, 1); len(came) != 0 {
		t.Errorf("it was accepted: %v", came)
	}
	if st := b.Stats(); st.Drops[frame.Cleartext] != 2 {
		t.Errorf("drops %v", st.Drops)
	}
	conserved(t, b)
}

// A peer is known by whose SA opened the packet, and by nothing else.
func TestSealedPeer(t *testing.T) {
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true)
	for _, c := range []struct {
		name   string
		routes []Route
		want   frame.Reason
	}{
		{"its keys", []Route{{Keys: ipsec.NewPeer(0, 0), VNI: testVNI, Port: 8}, {Keys: b.peer, VNI: testVNI, Port: 7}}, frame.NotDropped},
		{"its address", []Route{{Peer: a.Addr(), VNI: testVNI, Port: 8}}, frame.UnknownVTEP},
		{"another's keys", []Route{{Keys: ipsec.NewPeer(0, 0), VNI: testVNI, Port: 8}}, frame.UnknownVTEP},
		{"another network", []Route{{Keys: b.peer, VNI: testVNI + 1, Port: 8}}, frame.UnknownVNI},
		{"no table", nil, frame.UnknownVTEP},
	} {
		b.SetTable(NewTable(c.routes))
		before := b.Stats().Drops[c.want]
		data := udp(1, 100, 1)
		writeAll(t, a.q, list(t, data...))
		came := collect(t, b.Socket, 1)
		if c.want == frame.NotDropped {
			sameFrames(t, came, data)
		} else if got := b.Stats().Drops[c.want] - before; got != 1 || len(came) != 0 {
			t.Errorf("%s: %d frames came, %d dropped as %v", c.name, len(came), got, c.want)
		}
	}
}

// Neither side allocates.
func TestSealedAllocates(t *testing.T) {
	a, b := sealedPair(t, "127.0.0.1", "127.0.0.2", true)
	noAllocations(t, a, b)
}

// noAllocations fails the test if a run that goes from one end to the other allocates.
func noAllocations(t *testing.T, a, b *sealedEnd) {
	t.Helper()
	fs := list(t, udp(20, 1380, 1)...)
	batch := frame.NewBatch()
	if n := testing.AllocsPerRun(20, func() {
		if _, err := a.q.WriteBatch(fs); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(fs); {
			batch.Reset()
			n, err := b.ReadBatch(batch)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}); n != 0 {
		t.Errorf("%v allocations for a run", n)
	}
}

// BenchmarkSealed sends a run, sealed, and receives it, system calls and the
// kernel's own work included: beside BenchmarkLoopback's.
func BenchmarkSealed(b *testing.B) {
	for _, c := range []struct {
		name         string
		frames, size int
		raw          bool // needs CAP_NET_RAW
	}{{"tcp gso", 44, 1408 - 28, false}, {"one", 1, 64, false}, {"in IP", 44, 1416 - 28, true}, {"one in IP", 1, 64, true}} {
		b.Run(c.name, func(b *testing.B) {
			from, to := sealedPair(b, "127.0.0.1", "127.0.0.2", true, func(x *Config) { x.Raw = c.raw })
			fs := list(b, udp(c.frames, c.size, 1)...)
			batch := frame.NewBatch()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := from.q.WriteBatch(fs); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < len(fs); {
					batch.Reset()
					n, err := to.ReadBatch(batch)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
			perFrame(b, len(fs))
		})
	}
}
