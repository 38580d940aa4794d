package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEnvFile bounds an --env-file.
const maxEnvFile = 1 << 20

// environment is a sandbox's environment in order: base, then the files, then
// the -e flags; a later value of a name replaces an earlier one. A name without
// "=" takes the caller's value and is left out where the caller has none.
func environment(base, files, flags []string, lookup func(string) (string, bool)) ([]string, error) {
	all := append([]string(nil), base...)
	for _, f := range files {
		lines, err := readEnvFile(f)
		if err != nil {
			return nil, err
		}
		all = appendEnv(all, lines, lookup)
	}
	for _, e := range flags {
		if name, _, _ := strings.Cut(e, "="); name == "" {
			return nil, fmt.Errorf("environment %q: a name is missing before \"=\"", e)
		}
	}
	return lastWins(appendEnv(all, flags, lookup)), nil
}

func appendEnv(all, more []string, lookup func(string) (string, bool)) []string {
	for _, e := range more {
		if strings.Contains(e, "=") {
			all = append(all, e)
		} else if v, ok := lookup(e); ok {
			all = append(all, e+"="+v)
		}
	}
	return all
}

// lastWins keeps the last value of each name, at the place of the first.
func lastWins(env []string) []string {
	at := make(map[string]int, len(env))
	out := env[:0:0]
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

// readEnvFile reads K=V lines; empty lines and those that begin with # are
// skipped, names have no blanks in them, as in Docker's.
func readEnvFile(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("env file: %w", err)
	}
	if st.Size() > maxEnvFile {
		return nil, fmt.Errorf("env file %s: %d bytes, expected at most %d", path, st.Size(), maxEnvFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("env file: %w", err)
	}
	var out []string
	sc := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	sc.Buffer(nil, maxEnvFile)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimLeftFunc(sc.Text(), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line, "=")
		if name == "" || strings.ContainsFunc(name, unicode.IsSpace) || !utf8.ValidString(line) {
			return nil, fmt.Errorf("env file %s line %d: expected NAME=VALUE, found %q", path, n, line)
		}
		out = append(out, line)
	}
	return out, sc.Err()
}
