package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// statusVersion is the version of status.json.
const statusVersion = 1

type statusFile struct {
	Version int `json:"version"`
	ExitStatus
}

// ReadStatus returns how the sandbox with this runtime directory ended. The error
// is fs.ErrNotExist as long as it has not.
func ReadStatus(dir string) (ExitStatus, error) {
	path := filepath.Join(dir, statusName)
	b, err := os.ReadFile(path)
	if err != nil {
		return ExitStatus{}, fmt.Errorf("exit status: %w", err)
	}
	var s statusFile
	if err := json.Unmarshal(b, &s); err != nil {
		return ExitStatus{}, fmt.Errorf("exit status: %s is damaged (%v): remove it", path, err)
	}
	if s.Version != statusVersion {
		return ExitStatus{}, fmt.Errorf("exit status: %s has version %d, %d was expected: it belongs to another weft", path, s.Version, statusVersion)
	}
	return s.ExitStatus, nil
}

// Remove deletes what a sandbox left in its runtime directory, and the directory
// if nothing else is in it. The log is kept when it lies elsewhere.
func Remove(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, LogName+"*"))
	if err != nil {
		return fmt.Errorf("remove sandbox: %w", err)
	}
	for _, name := range [...]string{socketName, statusName, statusName + ".new", hostsName, hostnameName, resolvName, errorName} {
		paths = append(paths, filepath.Join(dir, name))
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove sandbox: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
		if entries, rerr := os.ReadDir(dir); rerr == nil && len(entries) > 0 {
			return nil // somebody else's files
		}
		return fmt.Errorf("remove sandbox: %w", err)
	}
	return nil
}
