package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What is measured of weft alone.
var (
	figIdle    = figure{"rss-idle", "daemon, idle, resident", "MiB", 1, true}
	figFull    = figure{"rss-full", "daemon, after all transfers and with 52 sandboxes, resident", "MiB", 1, true}
	figPort    = figure{"rss-port", "the difference for each sandbox", "MiB", 3, true}
	figRun     = figure{"run", "weft run --rm -- true, start to exit", "ms", 0, true}
	figPlain   = figure{"tcp-no-capture", "TCP, 1 stream, no capture", "Gbit/s", 2, false}
	figCapture = figure{"tcp-capture", "TCP, 1 stream, while all frames are captured whole", "Gbit/s", 2, false}
	figHeaders = figure{"tcp-capture-headers", "TCP, 1 stream, while 128 bytes of all frames are captured", "Gbit/s", 2, false}
	figReplay  = figure{"replay", "replay, 64 B unicast, file to file", "frames/s", 0, false}
)

const (
	furtherPorts = 50
	runs         = 15
	replayFrames = 1_000_000
)

// alone takes the measurements that have no counterpart in the others.
func (b *bench) alone(ctx context.Context, r *results) {
	if b.weft == nil {
		return
	}
	r.note(nil, figIdle, "weft", b.weft.idle)
	for _, step := range []struct {
		title string
		take  func(context.Context, *results) error
	}{
		{"capture on and off", b.captureCost},
		{"weft run --rm -- true", b.runTime},
		{"replay", b.replaySpeed},
		{"memory per sandbox", b.portMemory},
	} {
		if ctx.Err() != nil {
			return
		}
		b.progress("weft alone: %s", step.title)
		if err := step.take(ctx, r); err != nil {
			b.progress("  failed: %v", err)
		}
	}
}

// captureCost alternates transfers without and with a capture of the network.
func (b *bench) captureCost(ctx context.Context, r *results) error {
	for range b.rounds {
		for _, c := range []struct {
			fig  figure
			args []string
		}{
			{figPlain, nil},
			{figHeaders, []string{"capture", weftNet, "-s", "128", "-w", "/dev/null"}},
			{figCapture, []string{"capture", weftNet, "-w", "/dev/null"}},
		} {
			speed, err := b.capturing(ctx, c.args)
			if err != nil {
				return err
			}
			r.note(nil, c.fig, "weft", speed)
		}
	}
	return nil
}

// capturing returns the speed of a transfer while a command of weft runs, if
// there is one.
func (b *bench) capturing(ctx context.Context, args []string) (float64, error) {
	if args != nil {
		capture := b.weft.command(ctx, args...)
		if err := capture.Start(); err != nil {
			return 0, err
		}
		defer end(capture)
		time.Sleep(300 * time.Millisecond)
	}
	t, _, err := b.transfer(ctx, b.weft)
	return t.End.Received.BitsPerSecond / 1e9, err
}

func (b *bench) runTime(ctx context.Context, r *results) error {
	for range runs {
		start := time.Now()
		if _, err := b.weft.tell(ctx, "run", "--rm", "--", "true"); err != nil {
			return err
		}
		r.note(nil, figRun, "weft", float64(time.Since(start).Microseconds())/1e3)
	}
	return nil
}

func (b *bench) portMemory(ctx context.Context, r *results) error {
	for range furtherPorts {
		if _, err := b.weft.tell(ctx, "run", "-d", "--network", weftNet, "--", "sleep", "86400"); err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	after, err := b.weft.resident()
	if err != nil {
		return err
	}
	r.note(nil, figFull, "weft", after)
	r.note(nil, figPort, "weft", (after-b.weft.idle)/(furtherPorts+2))
	return nil
}

const replayLab = `networks:
  front: {subnet: 10.0.1.0/24}
ports:
  a: {network: front, mac: "02:42:0a:00:01:02", ip: 10.0.1.2}
  b: {network: front, mac: "02:42:0a:00:01:03", ip: 10.0.1.3}
`

func (b *bench) replaySpeed(ctx context.Context, r *results) error {
	dir := filepath.Join(b.weft.dir, "replay")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(dir, b.weft.uid, b.weft.gid); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/lab.yaml", []byte(replayLab), 0o644); err != nil {
		return err
	}
	if err := writeCapture(dir + "/a.pcap"); err != nil {
		return err
	}
	for i := range b.rounds {
		start := time.Now()
		if _, err := b.weft.tell(ctx, "replay", dir+"/lab.yaml", "--in", "a="+dir+"/a.pcap", "--out", fmt.Sprintf("%s/out%d", dir, i)); err != nil {
			return err
		}
		r.note(nil, figReplay, "weft", replayFrames/time.Since(start).Seconds())
	}
	return nil
}

// writeCapture writes a pcap file of equal UDP frames from port a to port b, a
// microsecond apart, each 60 bytes (64 with its check sequence).
func writeCapture(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	head := []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 1}
	if err := binary.Write(w, binary.LittleEndian, head); err != nil {
		return err
	}
	record := slices.Concat(make([]byte, 16),
		[]byte{2, 0x42, 10, 0, 1, 3, 2, 0x42, 10, 0, 1, 2, 0x08, 0x00},             // Ethernet
		[]byte{0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 1, 3}, // IPv4, checksum below
		[]byte{0x10, 0, 0x20, 0, 0, 26, 0, 0}, make([]byte, 18))                    // UDP without checksum
	binary.BigEndian.PutUint16(record[16+14+10:], headerSum(record[16+14:16+34]))
	for i := range uint32(replayFrames) {
		binary.LittleEndian.PutUint32(record[0:], 1_700_000_000+i/1_000_000)
		binary.LittleEndian.PutUint32(record[4:], i%1_000_000)
		binary.LittleEndian.PutUint32(record[8:], 60)
		binary.LittleEndian.PutUint32(record[12:], 60)
		if _, err := w.Write(record); err != nil {
			return err
		}
	}
	return w.Flush()
}

// headerSum is the Internet checksum of an IPv4 header (RFC 1071).
func headerSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
