package node

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"weft/internal/cnm"
)

// checkFlows holds a connection to rose's published port, and one that tulip makes, and
// finds both; then they are ended, one by its sandbox, one by its network.
func checkFlows(t *testing.T, n *Node) {
	t.Helper()
	out := holdOpen(t, n, "tulip", machine4)
	in, err := net.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.SetDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintln(in, "hello")
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	find := func(sandbox string, published bool) *Flow {
		flows, err := n.Flows("bridge")
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range flows {
			if f.Sandbox == sandbox && f.State == "established" && f.Published.IsValid() == published {
				return &flows[i]
			}
		}
		return nil
	}
	if f := find("rose", true); f == nil || f.Published.Port() != 8080 || f.Endpoint.Port() != 80 || f.BytesIn != 6 || f.BytesOut == 0 {
		t.Errorf("what came in: %+v", f)
	}
	if f := find("tulip", false); f == nil || f.Remote.Addr() != machine4 {
		t.Errorf("what went out: %+v", f)
	}
	if _, err := n.Flows("nowhere"); !errors.Is(err, cnm.NotFound) {
		t.Errorf("of no network: %v", err)
	}
	if count, err := n.FlushFlows("", "rose"); count == 0 || err != nil {
		t.Errorf("flush: %d, %v", count, err)
	}
	if _, err := in.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("after a flush: %v", err)
	}
	if err := out.echo("still there"); err != nil {
		t.Errorf("another sandbox's: %v", err)
	}
	if count, err := n.FlushFlows("bridge", ""); count == 0 || err != nil {
		t.Errorf("flush: %d, %v", count, err)
	}
	if err := out.gone(); err != nil {
		t.Error(err)
	}
	for _, u := range n.UplinkStats() {
		if u.Network == "bridge" && (u.BytesIn == 0 || u.Counts == nil) {
			t.Errorf("%+v", u)
		}
	}
}
