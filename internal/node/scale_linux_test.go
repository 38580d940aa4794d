package node

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/cnm"
)

// TestScale starts WEFT_SCALE sandboxes (default 24) and checks that they are
// reached and what they cost this process.
func TestScale(t *testing.T) {
	count := 24
	if s := os.Getenv("WEFT_SCALE"); s != "" {
		count, _ = strconv.Atoi(s)
	}
	n := openNode(t, testConfig(t))
	mustNetwork(t, n, cnm.Network{Name: "front", IPAM: pool("10.70.0.0/16")})
	rose := mustRun(t, n, cnm.SandboxSpec{Name: "rose", Cmd: program("serve", ":7000"), Networks: on("front")})
	before, begun := memory(t), time.Now()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < count; i += 4 {
				id, _, err := n.SandboxCreate(t.Context(), cnm.SandboxSpec{Name: fmt.Sprintf("box%d", i), Cmd: []string{"sleep", "600"}, Env: []string{"PATH=/usr/bin:/bin"}, Networks: on("front")})
				if err == nil {
					err = n.SandboxStart(t.Context(), id)
				}
				if err != nil {
					t.Errorf("box%d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	after := memory(t)
	t.Logf("%d sandboxes in %s, %d KiB each here, %d KiB in all", count, time.Since(begun).Round(time.Millisecond), (after-before)/count, after)
	allowed := 1024
	if raceEnabled {
		allowed *= 8 // the detector keeps that much beside what is used
	}
	if per := (after - before) / count; per > allowed {
		t.Errorf("%d KiB for each further sandbox, %d allowed", per, allowed)
	}
	for _, i := range []int{0, count / 2, count - 1} {
		reach(t, n, fmt.Sprintf("box%d", i), addr4(rose, "front"), true)
	}
	if got := n.Info().Ports; got != count+2 { // rose, and the exit
		t.Errorf("%d ports", got)
	}
}

// memory is the resident set of this process in KiB, without garbage of what ran
// before.
func memory(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.Atoi(f[1])
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
