package vswitch

import "testing"

// TestAskingInTurn: groups that are left again and again keep no other waiting.
func TestAskingInTurn(t *testing.T) {
	const groups, each = 40, 4
	table, p := newGroupTable(256, 1), &Port{cfg: PortConfig{Horizon: 1}}
	waiting := map[groupKey]bool{}
	for i := range byte(groups) {
		k := groupKey4([]byte{239, 1, 1, i})
		if !table.join(k, p, 0) {
			t.Fatal("no room")
		}
		table.leave(k, p)
		waiting[k] = true
	}
	for now := range uint32(groups/each + 1) { // one more where a round begins amid a bucket
		keys := table.asking(ip4Family, now, each)
		if len(keys) != each {
			t.Fatalf("%d groups asked for, want %d", len(keys), each)
		}
		for _, k := range keys {
			delete(waiting, k)
			table.leave(k, p)
		}
	}
	if len(waiting) > 0 {
		t.Errorf("%d groups of %d were never asked for", len(waiting), groups)
	}
}
