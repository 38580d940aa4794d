//go:build !linux

package nat

import "time"

func threadTime() time.Duration { return 0 }
