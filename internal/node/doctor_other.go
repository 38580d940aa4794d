//go:build !linux

package node

import (
	"runtime"

	"weft/tap"
)

// hostChecks has one finding where there is no Linux.
func hostChecks(tap.Rung) []Check {
	return []Check{good("operating system", "%s", runtime.GOOS).fail("sandboxes and TAPs need Linux; here weft replay, capture files and everything in memory work")}
}
