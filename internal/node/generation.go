package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// generationFile holds the generation of the daemon that ran last, in decimal.
const generationFile = "generation"

// nextGeneration returns a number that is higher than any before in dir, and on disk
// when it returns: by it others tell the keys of this daemon from those of an earlier
// one (package ipsec). It is the time, unless the clock was set back.
func nextGeneration(dir string, now time.Time) (uint64, error) {
	path := filepath.Join(dir, generationFile)
	last := uint64(0)
	b, err := os.ReadFile(path)
	if err == nil {
		last, err = strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	} else if os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: without it this node might use keys twice; if it is damaged, write into it what date +%%s%%N prints", path, err)
	}
	next := max(uint64(now.UnixNano()), last+1)
	f, err := os.CreateTemp(dir, generationFile+"-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, next)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return next, nil
}

// syncDir makes a rename in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
