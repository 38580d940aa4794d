package node

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/cnm"
)

func TestInsideView(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.8.0/24")})
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front")})
	mustRun(t, n, cnm.SandboxSpec{Name: "tulip", Networks: on("front")})
	execute(t, n, "rose", "ping", "10.66.8.3")
	if err := n.SandboxRename(t.Context(), "tulip", "aster"); err != nil {
		t.Fatal(err)
	}
	fdb, err := n.FDB("front")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range fdb {
		got = append(got, e.MAC.String()+" "+e.Port)
	}
	if s := strings.Join(got, ", "); s != "02:42:0a:42:08:01 gateway, 02:42:0a:42:08:02 rose:eth0, 02:42:0a:42:08:03 aster:eth0" {
		t.Errorf("fdb: %s", s)
	}
	arp, err := n.Neighbours("")
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, e := range arp {
		if e.Network == "front" {
			got = append(got, e.Addr.String()+" "+e.Sandbox)
		}
	}
	if s := strings.Join(got, ", "); s != "10.66.8.1 , 10.66.8.2 rose, 10.66.8.3 aster" {
		t.Errorf("neighbours: %s", s)
	}
	stats := n.Stats()
	if len(stats) != 2 || stats[0].Port != "aster:eth0" || stats[1].RxFrames == 0 || stats[0].TxBytes == 0 || stats[1].Rung == "" {
		t.Errorf("stats: %+v", stats)
	}
	frame := append([]byte{2, 0x42, 10, 66, 8, 3, 2, 0x42, 10, 66, 8, 2, 0x88, 0xb5}, make([]byte, 46)...)
	for _, c := range []struct {
		src  byte
		want string
	}{{2, "forwarded"}, {9, "dropped: spoofed-mac"}} {
		frame[11] = c.src
		steps, err := n.Trace(t.Context(), TraceOptions{Port: "rose", Frame: frame})
		if err != nil || steps[len(steps)-1].Result != c.want {
			t.Errorf("trace: %+v, %v, want %q", steps, err, c.want)
		}
	}
	for _, c := range []struct{ port, want string }{{"nobody", "nobody"}, {"rose:eth7", `rose has no port "eth7", it has eth0`}} {
		if _, err := n.Trace(t.Context(), TraceOptions{Port: c.port, Frame: frame}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("trace from %s: %v, expected %q", c.port, err, c.want)
		}
	}
	if i := n.Info(); i.Ports != 3 || i.Uplink != "host" || i.HostLoopback || i.Running != 2 || i.Networks != 4 || i.Workers != 2 || i.ID == "" || i.Kernel == "" {
		t.Errorf("info: %+v", i)
	}
	if _, err := n.FDB("host"); err == nil {
		t.Error("the host network has a forwarding table")
	}
}

func TestCapture(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.9.0/24")})
	mustNetwork(t, n, cnm.Network{Name: "back", IPAM: pool("10.66.10.0/24")})
	if _, err := n.Capture(t.Context(), CaptureOptions{Filter: "host and"}); err == nil {
		t.Error("a filter without sense was taken")
	}
	r, err := n.Capture(t.Context(), CaptureOptions{Network: "front", Before: true, Filter: "icmp"})
	if err != nil {
		t.Fatal(err)
	}
	file := make(chan []byte, 1)
	go func() {
		var b bytes.Buffer
		io.Copy(&b, r)
		file <- b.Bytes()
	}()
	// A port that comes later is captured too; other networks are not.
	mustRun(t, n, cnm.SandboxSpec{Name: "rose", Networks: on("front", "back")})
	if out, code := execute(t, n, "rose", "ping", "10.66.9.1"); code != 0 {
		t.Errorf("ping: %s", out)
	}
	if out, code := execute(t, n, "rose", "ping", "10.66.10.1"); code != 0 {
		t.Errorf("ping: %s %+v", out, mustFind(t, n, "rose").Endpoints)
	}
	time.Sleep(50 * time.Millisecond)
	r.Close()
	b := <-file
	in, err := capture.NewReader("capture", bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	packets := 0
	for {
		var p capture.Packet
		if err := in.Next(&p); err != nil {
			break
		}
		packets++
		if !bytes.Contains(p.Data, []byte{10, 66, 9, 2, 10, 66, 9, 1}) {
			t.Errorf("captured % x", p.Data)
		}
	}
	if packets != 1 || !bytes.Contains(b, []byte("rose:eth0")) || bytes.Contains(b, []byte("rose:eth1")) {
		t.Errorf("%d packets in %q", packets, b)
	}
	for range 100 {
		n.path.mu.Lock()
		left := len(n.path.sessions)
		n.path.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the session is still there")
}

// A capture whose reader lags names frames after the port they crossed, also when
// that has gone and its slot is another's.
func TestCaptureBacklog(t *testing.T) {
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.66.11.0/24")})
	s, err := n.captureSession(CaptureOptions{Before: true, Filter: "icmp"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.path.addSession(s); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rose", "iris"} {
		mustRun(t, n, cnm.SandboxSpec{Name: name, Networks: on("front")})
		if out, code := execute(t, n, name, "ping", "10.66.11.1"); code != 0 {
			t.Errorf("ping: %s", out)
		}
		if err := n.SandboxRemove(t.Context(), name, true); err != nil {
			t.Fatal(err)
		}
	}
	n.path.dropSession(s)
	var b bytes.Buffer
	s.ring.Close()
	if err := s.stream("weft").Run(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	// The blocks (draft-ietf-opsawg-pcapng, 4.2 and 4.3): 1 describes an
	// interface, 6 is a packet of the interface that its first word says.
	var names, from []string
	for rest := b.Bytes(); len(rest) > 12; {
		kind, size := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		block := rest[8:size]
		rest = rest[size:]
		switch kind {
		case 1:
			for _, name := range []string{"rose:eth0", "iris:eth0", "front@uplink"} {
				if bytes.Contains(block, []byte(name)) {
					names = append(names, name)
				}
			}
		case 6:
			from = append(from, names[binary.LittleEndian.Uint32(block)])
		}
	}
	if !slices.Equal(from, []string{"rose:eth0", "iris:eth0"}) {
		t.Errorf("captured of %q", from)
	}
}

func TestDoctor(t *testing.T) {
	names := map[string]bool{}
	for _, c := range Doctor(t.TempDir()) {
		if c.Name == "" || c.Found == "" || (c.Status != OK) != (c.Advice != "") {
			t.Errorf("check %+v", c)
		}
		names[c.Name] = true
	}
	for _, want := range []string{"kernel", "user namespaces", "AppArmor", "TUN device", "sandbox", "TAP offloads", "AES-GCM", "subordinate ids", "receive buffers", "uplink", "open files", "nsenter", "runtime directory"} {
		if !names[want] {
			t.Errorf("no check of %s", want)
		}
	}
	for _, c := range Doctor("/proc/nowhere") {
		if c.Name == "runtime directory" && c.Status != Fail {
			t.Errorf("a directory that cannot be made: %+v", c)
		}
	}
}
