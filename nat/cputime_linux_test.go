package nat

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime returns the processor time that this thread has had: what a benchmark on a
// busy machine costs.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
