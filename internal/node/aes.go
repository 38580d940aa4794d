package node

import (
	"errors"

	"weft/ipsec"
)

// errStandardAES: the wide AES-GCM was not wanted.
var errStandardAES = errors.New("as --aes standard has it")

// probeAES returns how AES-GCM is to be computed. Where that is the standard library's way
// the error says why, as [ipsec.ProbeAES] does.
func (c *Config) probeAES() (ipsec.AES, error) {
	if c.StandardAES {
		return ipsec.AES{}, errStandardAES
	}
	return ipsec.ProbeAES()
}

// chooseAES settles how the node computes AES-GCM.
func (n *Node) chooseAES() {
	n.aes, n.aesWhy = n.cfg.probeAES()
	if c := checkAES(n.aes, n.aesWhy); c.Status != OK {
		n.log.Warn("AES-GCM is the standard library's", "error", n.aesWhy)
	}
}

// checkAES tells how AES-GCM is computed, and why not by the wide way. That the processor
// has none is nothing to mend; that it computes otherwise than the standard library is.
func checkAES(way ipsec.AES, why error) Check {
	const name = "AES-GCM"
	switch {
	case why == nil:
		return good(name, "%v", way)
	case errors.Is(why, ipsec.ErrNoWideAES), errors.Is(why, errStandardAES):
		return good(name, "%v: %v", way, why)
	}
	return good(name, "%v: the wide one does not work here: %v", way, why).warn("encrypted networks are slower, but right. Report it with the processor's name, and run memtest")
}
