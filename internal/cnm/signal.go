package cnm

import (
	"strconv"
	"strings"
)

// ParseSignal returns the Linux number of a signal given by name, with or
// without SIG in front and in any case, or by number (1 to 64; signal(7)).
func ParseSignal(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > sigRTMax {
			return 0, Errorf(Invalid, "invalid signal: %s", s)
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for i, n := range signals {
		if n == name && n != "" {
			return i, nil
		}
	}
	switch name {
	case "IOT":
		return 6, nil
	case "POLL":
		return 29, nil
	case "CLD":
		return 17, nil
	}
	return realtimeSignal(s, name)
}

// The range of real-time signals a program may use: glibc keeps 32 and 33.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// realtimeSignal reads RTMIN, RTMIN+n, RTMAX and RTMAX-n.
func realtimeSignal(s, name string) (int, error) {
	base, sign := 0, 0
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if ok {
		base, sign = sigRTMin, 1
	} else if rest, ok = strings.CutPrefix(name, "RTMAX"); ok {
		base, sign = sigRTMax, -1
	}
	if !ok {
		return 0, Errorf(Invalid, "invalid signal: %s", s)
	}
	if rest == "" {
		return base, nil
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n*sign < 0 || n*sign > sigRTMax-sigRTMin || rest[0] != '+' && rest[0] != '-' {
		return 0, Errorf(Invalid, "invalid signal: %s", s)
	}
	return base + n, nil
}

// signals are the names of Linux's standard signals on every architecture Go
// runs on there but MIPS, by number.
var signals = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
	11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP",
	21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
}
