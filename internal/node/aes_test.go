package node

import (
	"errors"
	"fmt"
	"testing"

	"weft/ipsec"
)

func TestCheckAES(t *testing.T) {
	best, _ := ipsec.ProbeAES()
	for _, c := range []struct {
		name   string
		way    ipsec.AES
		why    error
		status Status
		found  string
	}{
		{"probed", best, nil, OK, best.String()},
		{"another processor", ipsec.AES{}, fmt.Errorf("%w: the processor has no AVX-512", ipsec.ErrNoWideAES), OK, "standard: no wide AES-GCM: the processor has no AVX-512"},
		{"not wanted", ipsec.AES{}, errStandardAES, OK, "standard: as --aes standard has it"},
		{"wrong", ipsec.AES{}, errors.New("a forged packet was opened"), Warn, "standard: the wide one does not work here: a forged packet was opened"},
	} {
		if got := checkAES(c.way, c.why); got.Name != "AES-GCM" || got.Status != c.status || got.Found != c.found || (got.Advice == "") != (c.status == OK) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestProbeAES: what is not wanted is not used, and what is there is.
func TestProbeAES(t *testing.T) {
	if way, err := (&Config{StandardAES: true}).probeAES(); way != (ipsec.AES{}) || !errors.Is(err, errStandardAES) {
		t.Errorf("%v, %v, want the standard library's", way, err)
	}
	best, _ := ipsec.ProbeAES()
	if way, _ := (&Config{}).probeAES(); way != best {
		t.Errorf("%v, want %v", way, best)
	}
}
