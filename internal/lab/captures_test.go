package lab

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/capture"
)

// capturesLab feeds a capture into a learning port and into a guarded one; the
// others only listen.
const capturesLab = `networks:
  n: {subnet: [10.0.0.0/24, "fd00::/64"], ipv6: true}
  g: {subnet: 10.0.1.0/24}
ports:
  learned: {network: n, mac-limit: 64}
  listener: {network: n}
  small: {network: n, mtu: 1500}
  tagged: {network: n, vlans: [1, 2, 3]}
  guarded: {network: g, ip: 10.0.1.2}
  other: {network: g}
`

// TestCaptures replays every capture below a directory: each frame is accounted
// for, or the file is refused by name. The directory is WEFT_CAPTURES (see `make
// captures`); without it, the golden inputs of this package.
func TestCaptures(t *testing.T) {
	dir, all := goldenDir, os.Getenv("WEFT_CAPTURES")
	if filepath.IsAbs(all) {
		dir = all
	} else if all != "" {
		dir = filepath.Join("../..", all)
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if ext := filepath.Ext(path); err == nil && !e.IsDir() && (ext == ".pcap" || ext == ".pcapng" || ext == ".cap") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures in %s: %v", len(files), dir, err)
	}
	l := parse(t, capturesLab)
	out := t.TempDir()
	var sum captureSum
	sum.dropped = map[string]uint64{}
	for _, path := range files {
		name, _ := filepath.Rel(dir, path)
		// A capture of at most a few megabytes takes milliseconds.
		hang := time.AfterFunc(time.Minute, func() { panic("replay of " + path + " hangs") })
		line, err := replayOne(l, path, out, &sum)
		hang.Stop()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if all != "" {
			fmt.Printf("%-50s %s\n", name, line)
		}
	}
	if all != "" {
		fmt.Print(sum.String(len(files)))
	}
}

// replayOne replays a capture twice, the second time against the first.
func replayOne(l *Lab, path, out string, sum *captureSum) (string, error) {
	first := filepath.Join(out, "1")
	inputs := map[string]string{"learned": path, "guarded": path}
	r, err := Replay(l, inputs, first, Options{})
	var refused *capture.FormatError
	if errors.As(err, &refused) && strings.HasPrefix(err.Error(), path+": byte ") {
		sum.refused++
		return "refused: " + strings.TrimPrefix(err.Error(), path+": "), nil
	}
	if err != nil {
		return "", err
	}
	if _, err := Replay(l, inputs, filepath.Join(out, "2"), Options{Expect: first}); err != nil {
		return "", fmt.Errorf("a second replay: %w", err)
	}
	sum.frames += r.Records
	var line []string
	for _, p := range r.Ports {
		if p.In.Frames == 0 {
			continue
		}
		line = append(line, fmt.Sprintf("%s: in %d forwarded %d consumed %d dropped %d (%s)", p.Name, p.In.Frames, p.Forwarded, p.Consumed, p.DroppedTotal(), p.why()))
		sum.forwarded += p.Forwarded
		sum.consumed += p.Consumed
		for reason, n := range p.Dropped {
			sum.dropped[reason] += n
		}
	}
	return strings.Join(line, "; "), nil
}

// captureSum adds up what became of all frames.
type captureSum struct {
	refused                     int
	frames, forwarded, consumed uint64
	dropped                     map[string]uint64
}

func (s *captureSum) String(files int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d captures: %d replayed, %d refused by name\n", files, files-s.refused, s.refused)
	fmt.Fprintf(&b, "%d frames, every one accounted for: %d forwarded, %d consumed", s.frames, s.forwarded, s.consumed)
	for _, reason := range slices.Sorted(maps.Keys(s.dropped)) {
		fmt.Fprintf(&b, ", %d %s", s.dropped[reason], reason)
	}
	return b.String() + "\n"
}
