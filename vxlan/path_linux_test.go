package vxlan

import (
	"fmt"
	"testing"

	"weft/internal/frame"
	"weft/internal/nettest"
)

// udp returns n datagrams of one flow with size bytes of payload, each its own.
func udp(n, size int, port uint16) (out [][]byte) {
	for i := range n {
		payload := make([]byte, size)
		copy(payload, fmt.Sprintf("%d of port %d ", i, port))
		out = append(out, nettest.UDP(hostA, hostB, port, 9, payload))
	}
	return out
}

// TestPath sends through every rung of both ladders, over both families.
func TestPath(t *testing.T) {
	nettest.CheckLeaks(t)
	shapes := map[string][][]byte{
		"one frame":                 udp(1, 100, 1),
		"one flow":                  udp(44, 1400, 1),
		"a full batch":              udp(64, 1300, 1),
		"two batches":               udp(128, 700, 1),
		"last is shorter":           append(udp(20, 1400, 1), udp(1, 33, 1)...),
		"sizes go up and down":      append(append(udp(5, 100, 1), udp(5, 1400, 1)...), udp(5, 99, 1)...),
		"several flows":             append(append(udp(20, 500, 1), udp(20, 500, 2)...), udp(20, 500, 3)...),
		"the largest datagram":      nil, // by family, below
		"large ones":                udp(7, 30000, 1),
		"the smallest Ethernet":     {unhex(t, ether), unhex(t, ether), unhex(t, ether)},
		"long behind short behind":  append(udp(1, 10, 1), udp(30, 1000, 1)...),
		"more than a message holds": udp(60, 1400, 1),
	}
	for _, rung := range []struct {
		name   string
		change func(*Config)
		adjust func(a, b *Socket)
	}{
		{"gso gro", func(*Config) {}, nil},
		{"gso plain", func(c *Config) { c.NoGRO = true }, nil},
		{"plain gro", func(c *Config) { c.NoGSO = true }, nil},
		{"single", func(c *Config) { c.NoGSO, c.NoGRO = true, true }, func(a, b *Socket) {
			a.stepDown(SendSingle, "the test says so")
			b.rx.rung, b.rx.call = ReceiveSingle, recvEach
		}},
		{"no pool", func(c *Config) { c.Pool = -1 }, nil},
	} {
		for _, ends := range [][2]string{{"127.0.0.1", "127.0.0.2"}, {"::1", "::1"}} {
			t.Run(rung.name+" "+ends[0], func(t *testing.T) {
				a, b, q := pair(t, ends[0], ends[1], rung.change)
				if rung.adjust != nil {
					rung.adjust(a, b)
				}
				shapes["the largest datagram"] = udp(1, InnerMTU(65536, false)-28, 1)
				if ends[0] == "::1" {
					shapes["the largest datagram"] = udp(1, InnerMTU(65536, true)-28, 1)
				}
				sent, messages := 0, a.Stats().SentMessages
				for name, data := range shapes {
					t.Run(name, func(t *testing.T) {
						if refused := writeAll(t, q, list(t, data...)); len(refused) != 0 {
							t.Fatalf("%d refused", len(refused))
						}
						sameFrames(t, collect(t, b, len(data)), data)
					})
					sent += len(data)
				}
				conserved(t, b)
				st, rst := a.Stats(), b.Stats()
				if st.SentDatagrams != uint64(sent) || rst.Frames != uint64(sent) || rst.Bytes != st.SentBytes {
					t.Errorf("%d sent; sender: %+v; receiver: %+v", sent, st, rst)
				}
				gso, gro := st.SendRung == SendGSO, rst.ReceiveRung == ReceiveGRO
				if (st.SentMerged > 0) != gso || (st.SentMessages-messages == uint64(sent)) == gso {
					t.Errorf("rung %s sent %d in %d messages, %d merged", st.SendRung, sent, st.SentMessages, st.SentMerged)
				}
				if (rst.Merged > 0) != gro && gso {
					t.Errorf("rung %s received %d in %d messages, %d merged", rst.ReceiveRung, sent, rst.Messages, rst.Merged)
				}
			})
		}
	}
}

// A superframe's worth of segments is one system call with one message.
func TestOneMessagePerRun(t *testing.T) {
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	data := append(udp(43, 1400, 1), udp(1, 7, 1)...)
	writeAll(t, q, list(t, data...))
	if st := a.Stats(); st.SentMessages != 1 || st.SentMerged != 1 || st.Calls != 1 || st.SentDatagrams != 44 {
		t.Errorf("%+v", st)
	}
	sameFrames(t, collect(t, b, len(data)), data)
	if st := b.Stats(); st.Messages != 1 || st.Merged != 1 || st.Datagrams != 44 {
		t.Errorf("received %+v", st)
	}
}

// A run ends where a message must: at 63 frames and at 65,000 bytes.
func TestRunBounds(t *testing.T) {
	for _, c := range []struct {
		name     string
		data     [][]byte
		messages uint64
		merged   uint64
	}{
		{"63 frames", udp(63, 100, 1), 1, 1},
		{"64 frames", udp(64, 100, 1), 2, 1},
		{"65,000 bytes", udp(50, 1300-50, 1), 1, 1},
		{"65,050 bytes", udp(50, 1301-50, 1), 2, 1},
		{"a longer one", append(udp(2, 100, 1), udp(2, 101, 1)...), 2, 2},
		{"a shorter one ends it", append(udp(2, 100, 1), udp(2, 99, 1)...), 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
			writeAll(t, q, list(t, c.data...))
			if st := a.Stats(); st.SentMessages != c.messages || st.SentMerged != c.merged || st.Calls != 1 {
				t.Errorf("%d messages, %d merged, %d calls; want %d, %d and 1", st.SentMessages, st.SentMerged, st.Calls, c.messages, c.merged)
			}
			sameFrames(t, collect(t, b, len(c.data)), c.data)
		})
	}
}

// Frames of a flow keep their order, however flows are mixed.
func TestOrder(t *testing.T) {
	const flows, each = 7, 9
	a, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	var data [][]byte
	for i := range each {
		for flow := range flows {
			data = append(data, nettest.UDP(hostA, hostB, uint16(1000+flow), 9, fmt.Appendf(nil, "%02d %02d", flow, i)))
		}
	}
	writeAll(t, q, list(t, data...))
	if st := a.Stats(); st.Calls > DefaultPool || st.SentMessages > DefaultPool {
		t.Errorf("%d frames of one size took %d calls and %d messages", len(data), st.Calls, st.SentMessages)
	}
	next := map[string]int{}
	for _, g := range collect(t, b, len(data)) {
		var flow string
		var i int
		fmt.Sscanf(g.data[42:], "%s %d", &flow, &i)
		if i != next[flow] {
			t.Fatalf("flow %s: %d came when %d was due", flow, i, next[flow])
		}
		next[flow]++
	}
	if len(next) != flows {
		t.Errorf("%d flows came", len(next))
	}
	for flow, n := range next {
		if n != each {
			t.Errorf("%d frames of flow %s came", n, flow)
		}
	}
}

// A received frame may be written out again from where it lies, and the frames
// around it stay what they were.
func TestForwardInPlace(t *testing.T) {
	_, b, q := pair(t, "127.0.0.1", "127.0.0.2")
	c := listen(t, "127.0.0.3")
	c.SetTable(NewTable([]Route{{Peer: b.Addr(), VNI: testVNI + 1, Port: 7}}))
	on := b.NewLink(c.Addr(), testVNI+1).Queues()[0]
	data := udp(40, 900, 1)
	writeAll(t, q, list(t, data...))
	if !wait(t, b.FD(), 1e9) {
		t.Fatal("nothing came")
	}
	batch := frame.NewBatch()
	if n, err := b.ReadBatch(batch); n != len(data) || err != nil {
		t.Fatalf("ReadBatch = %d, %v", n, err)
	}
	var fs []*frame.Frame
	for i := range batch.Len() {
		f := batch.At(i)
		if r := f.Parse(); r != frame.NotDropped {
			t.Fatal(r)
		}
		fs = append(fs, f)
	}
	writeAll(t, on, fs)
	came := collect(t, c, len(data))
	for i := range came {
		if came[i].vni != testVNI+1 {
			t.Fatalf("frame %d is of network %d", i, came[i].vni)
		}
		came[i].vni = testVNI
	}
	sameFrames(t, came, data)
}
