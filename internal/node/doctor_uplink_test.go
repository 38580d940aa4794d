package node

import (
	"strings"
	"testing"
)

func TestJudgeFiles(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for _, c := range []struct {
		name, limits string
		want         Status
		found        string
	}{
		{"plenty", head + "Max open files            1024                 1048576              files     \n", OK, "at most 1048576"},
		{"few", head + "Max open files            1024                 4096                 files     \n", Warn, "at most 4096"},
		{"enough", head + "Max open files            65536                65536                files     \n", OK, "at most 65536"},
		{"unlimited", head + "Max open files            1024                 unlimited            files     \n", OK, "at most unlimited"},
		{"torn", "Max open files  10", OK, "the limit is not known here"},
		{"nothing", "", OK, "the limit is not known here"},
	} {
		if got := judgeFiles(c.limits); got.Status != c.want || got.Found != c.found || (got.Advice == "") != (c.want == OK) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestFlowBounds(t *testing.T) {
	for _, c := range []struct {
		name, hard string
		all, each  int
	}{
		{"plenty", "1048576", 65536, 4096},
		{"beyond an int32", "9223372036854775807", 65536, 4096},
		{"unlimited", "unlimited", 65536, 4096},
		{"few", "4096", 2048, 512},
		{"next to none", "1", 1, 1},
	} {
		all, each := flowBounds("Max open files            1  " + c.hard + "  files\n")
		if all != c.all || each != c.each {
			t.Errorf("%s: %d flows, %d of an endpoint, want %d and %d", c.name, all, each, c.all, c.each)
		}
	}
}

func TestUplinkChecks(t *testing.T) {
	if got := uplinkChecks(Uplink{Kind: UplinkNone}); len(got) != 1 || got[0].Status != OK || !strings.HasPrefix(got[0].Found, "none") {
		t.Errorf("none: %+v", got)
	}
	if got := uplinkChecks(Uplink{}); len(got) != 2 || got[0].Name != "uplink" || got[0].Status == Fail {
		t.Errorf("host: %+v", got)
	}
}
