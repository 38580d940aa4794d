package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weft/ipsec"
	"weft/tap"
)

// Doctor checks what this host allows; runDir is where the daemon would keep its
// sockets. It needs no daemon.
func Doctor(runDir string) []Check {
	return append(doctor(runDir, tap.USO, Uplink{}), checkAES(ipsec.ProbeAES()))
}

// Doctor is the function of the same name for this node.
func (n *Node) Doctor() []Check {
	return slices.Concat(doctor(n.cfg.RunDir, n.cfg.TAPOffload, n.cfg.Uplink), []Check{checkAES(n.aes, n.aesWhy)}, n.tunnelChecks(), n.keyChecks(), n.portChecks(), n.swarmChecks())
}

// doctor checks; highest is the best rung a TAP may be used on, u what is to lead out.
func doctor(runDir string, highest tap.Rung, u Uplink) []Check {
	return slices.Concat(hostChecks(highest), uplinkChecks(u), []Check{checkRunDir(runDir)})
}

func good(name, format string, args ...any) Check {
	return Check{Name: name, Status: OK, Found: fmt.Sprintf(format, args...)}
}

func (c Check) warn(advice string) Check { c.Status, c.Advice = Warn, advice; return c }

func (c Check) fail(advice string) Check { c.Status, c.Advice = Fail, advice; return c }

// MaxSocketPath is how long the address of a Unix socket may be, in bytes
// (sun_path less its terminator).
const MaxSocketPath = 107

// checkRunDir looks whether the runtime directory can be used.
func checkRunDir(dir string) Check {
	c := good("runtime directory", "%s", dir)
	if dir == "" {
		c.Found = "not set"
		return c.fail("set XDG_RUNTIME_DIR, or start the daemon with --host and --data-dir")
	}
	if len(filepath.Join(dir, "weft.sock")) > MaxSocketPath {
		return c.fail(fmt.Sprintf("its path leaves no room for a socket's address of at most %d bytes: choose a shorter one", MaxSocketPath))
	}
	// Of a directory that is not there yet, its nearest parent decides.
	at := dir
	for {
		if st, err := os.Stat(at); err == nil {
			if !st.IsDir() {
				c.Found = at + " is not a directory"
				return c.fail("remove it, or choose another directory")
			}
			break
		}
		if at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	probe, err := os.CreateTemp(at, ".weft-doctor-")
	if err != nil {
		c.Found = err.Error()
		return c.fail("make " + at + " writable for this user, or set XDG_RUNTIME_DIR to a directory that is")
	}
	probe.Close()
	os.Remove(probe.Name())
	if at != dir {
		c.Found += " (will be made)"
	}
	return c
}

// readKnob returns the one line of a file of /proc/sys, "" when there is none.
func readKnob(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
