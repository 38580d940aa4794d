package cluster

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"weft/internal/cluster/gossip"
)

// TestForeignGossip: another swarm's nodes, with ids and networks of this one, and
// garbage: counted, and neither nodes nor tables change.
func TestForeignGossip(t *testing.T) {
	hosts := testCluster(t, 1)
	nw := overlayNet(t, hosts[0].Member, "front")
	e := hosts[1].endpoint(t, nw.ID, "rose")
	if err := hosts[0].Use(t.Context(), nw.ID); err != nil {
		t.Fatal(err)
	}
	knows := func() bool {
		n := hosts[0].Neighbours(nw.ID)
		return len(n.Endpoints) == 1 && n.Endpoints[0].ID == e.ID && n.Endpoints[0].Sandbox == "rose"
	}
	eventually(t, "the row is there", knows)
	before := fmt.Sprint(hosts[0].Nodes())
	at := netip.AddrPortFrom(hosts[0].cfg.Advertise, hosts[0].cfg.GossipPort)
	key := make([]byte, gossipKeyLen)
	rand.Read(key)
	foreign, err := gossip.Start(gossip.Config{
		NodeID: hosts[1].ID(), Name: "node2", Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 9}), 0), Keys: [][]byte{key},
		Bootstrap: func() []netip.AddrPort { return []netip.AddrPort{at} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	liar := rose()
	liar.ID = e.ID
	value, err := liar.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign.Attach(t.Context(), nw.ID); err != nil {
		t.Fatal(err)
	}
	if err := foreign.Put(nw.ID, e.ID, value); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 50 {
		foreign.Join([]netip.AddrPort{at})
		b := make([]byte, 1400)
		rand.Read(b)
		c.Write(b)
	}
	eventually(t, "it is counted", func() bool { return hosts[0].Stats().Gossip.Refused >= 100 })
	time.Sleep(300 * time.Millisecond)
	if now := fmt.Sprint(hosts[0].Nodes()); now != before {
		t.Errorf("nodes %s, before %s", now, before)
	}
	if !knows() {
		t.Errorf("the table is %+v", hosts[0].Neighbours(nw.ID))
	}
}

// TestRowsOfNobody: rows of who is no node by the managers' word, though it has the
// gossip's keys, as one that was removed has, are in no table.
func TestRowsOfNobody(t *testing.T) {
	hosts := testCluster(t, 0)
	nw := overlayNet(t, hosts[0].Member, "front")
	if err := hosts[0].Use(t.Context(), nw.ID); err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(hosts[0].cfg.Advertise, hosts[0].cfg.GossipPort)
	stranger, err := gossip.Start(gossip.Config{
		NodeID: newID(), Name: "nobody", Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 9}), 0), Keys: hosts[0].View().GossipKeys,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Join([]netip.AddrPort{at}); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Attach(t.Context(), nw.ID); err != nil {
		t.Fatal(err)
	}
	e := rose()
	value, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Put(nw.ID, e.ID, value); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gossip has the row", func() bool { return len(hosts[0].gossip.Rows(nw.ID)) == 1 })
	if n := hosts[0].Neighbours(nw.ID); len(n.Nodes)+len(n.Endpoints) != 0 {
		t.Errorf("the table is %+v", n)
	}
}
