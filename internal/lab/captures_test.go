package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/frame"
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

// aimedLab has both sides of a way out, for captures whose frames are turned towards it.
const aimedLab = `networks:
  n: {subnet: [10.0.0.0/24, "fd00::/64"], ipv6: true}
nodes:
  n1: {uplink-addr: [192.0.2.1/24, "2001:db8::1/64"], uplink-gateway: [192.0.2.254, "2001:db8::fe"]}
ports:
  inner: {network: n}
  holder: {network: n, ip: [10.0.0.2, "fd00::2"], mac: "02:42:0a:00:00:02", publish: ["1-1023:1-1023", "1-1023:1-1023/udp"]}
  world: {outside: true, mtu: 600, ip: [192.0.2.254, "2001:db8::fe"]}
`

// aim turns a frame towards the router, from inside or from outside: where there is an IP
// header, however odd the rest, it gets addresses that the router carries it for. Its
// transport checksum stays what it was, and is mostly wrong.
func aim(data []byte, inside bool) []byte {
	b := bytes.Clone(data)
	if len(b) < 14 {
		return b
	}
	copy(b, uplinkMAC[:])
	copy(b[6:], routerMAC[:])
	from, to := 0, 4 // in these: of IPv4
	if inside {
		copy(b, []byte{2, 0x42, 10, 0, 0, 1})
		copy(b[6:], []byte{2, 0x42, 10, 0, 0, 3})
		from, to = 8, 12
	}
	four := []byte{198, 51, 100, 9, 192, 0, 2, 1, 10, 0, 0, 3, 203, 0, 113, 5}
	six := []string{"2001:db8:7::9", "2001:db8::1", "fd00::3", "2001:db8:8::5"}
	switch typ := binary.BigEndian.Uint16(b[12:]); {
	case typ == frame.EtherIPv4 && len(b) >= 34:
		copy(b[26:30], four[from:from+4])
		copy(b[30:34], four[to:to+4])
		if n := 14 + int(b[14]&15)*4; n >= 34 && n <= len(b) {
			frame.SetIPv4Checksum(b[14:])
		}
	case typ == frame.EtherIPv6 && len(b) >= 54:
		copy(b[22:38], netip.MustParseAddr(six[from/4]).AsSlice())
		copy(b[38:54], netip.MustParseAddr(six[to/4]).AsSlice())
	}
	return b
}

// replayAimed turns the frames of a capture towards a way out, from both sides, and replays
// them twice: they are accounted for, and nothing of the inside is seen outside.
func replayAimed(t *testing.T, l *Lab, path, out string, sum *captureSum) error {
	r, err := capture.Open(path)
	if err != nil {
		return nil // refused; see replayOne
	}
	defer r.Close()
	var in, world []at
	for i := int64(0); ; i++ {
		var p capture.Packet
		if r.Next(&p) != nil {
			break
		}
		in, world = append(in, at{i, aim(p.Data, true)}), append(world, at{i, aim(p.Data, false)})
	}
	inputs := map[string]string{"inner": write(t, out, "inner", pcapOf(t, in)), "world": write(t, out, "world", pcapOf(t, world))}
	first := filepath.Join(out, "aimed1")
	res, err := Replay(l, inputs, first, Options{Seed: 1})
	if err == nil {
		_, err = Replay(l, inputs, filepath.Join(out, "aimed2"), Options{Seed: 1, Expect: first})
	}
	if err != nil {
		return err
	}
	sum.aimed += res.Records
	for _, p := range res.Ports {
		sum.crossed += p.Forwarded
	}
	for _, b := range readAll(t, outPath(first, "world")) {
		if len(b) >= 34 && b[12] == 8 && b[13] == 0 && b[26] == 10 {
			return fmt.Errorf("a frame from inside left as it was: %x", b)
		}
	}
	return nil
}

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
	l, aimed := parse(t, capturesLab), parse(t, aimedLab)
	out := t.TempDir()
	var sum captureSum
	sum.dropped = map[string]uint64{}
	for _, path := range files {
		name, _ := filepath.Rel(dir, path)
		// A capture of at most a few megabytes takes milliseconds.
		hang := time.AfterFunc(time.Minute, func() { panic("replay of " + path + " hangs") })
		line, err := replayOne(l, path, out, &sum)
		if err == nil {
			err = replayAimed(t, aimed, path, out, &sum)
		}
		hang.Stop()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if all != "" {
			fmt.Printf("%-50s %s\n", name, line)
		}
	}
	if sum.crossed == 0 {
		t.Errorf("of %d frames that were turned towards the way out none crossed", sum.aimed)
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
	aimed, crossed              uint64 // frames towards a way out
}

func (s *captureSum) String(files int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d captures: %d replayed, %d refused by name\n", files, files-s.refused, s.refused)
	fmt.Fprintf(&b, "%d frames, every one accounted for: %d forwarded, %d consumed", s.frames, s.forwarded, s.consumed)
	for _, reason := range slices.Sorted(maps.Keys(s.dropped)) {
		fmt.Fprintf(&b, ", %d %s", s.dropped[reason], reason)
	}
	fmt.Fprintf(&b, "; turned towards a way out, %d frames, of which %d crossed", s.aimed, s.crossed)
	return b.String() + "\n"
}
