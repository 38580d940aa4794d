package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/capture"
	"weft/internal/lab"
)

const (
	captureFile = "rose.pcapng"
	echoes      = 5
)

// captured pings under a capture and decodes it.
func captured(ctx context.Context, t *tour) (string, error) {
	iris, err := t.addr(ctx, "iris", front)
	if err != nil {
		return "", err
	}
	file := t.path(captureFile)
	err = t.capture(ctx, "rose", "icmp", file, func() error {
		_, err := t.reach(ctx, "rose", iris, echoes)
		return err
	})
	if err != nil {
		return "", err
	}
	var lines []string
	asked, answered := 0, 0
	err = packets(file, func(p *capture.Packet) error {
		s := capture.Summary(p.Data)
		if strings.Contains(s, "EchoRequest") {
			asked++
		} else if strings.Contains(s, "EchoReply") {
			answered++
		}
		if len(lines) < 4 {
			lines = append(lines, s)
		}
		return nil
	})
	if err == nil && (asked != echoes || answered != echoes) {
		err = fmt.Errorf("%d requests and %d replies in the capture, want %d of each", asked, answered, echoes)
	}
	return fmt.Sprintf("%s\n… %d requests, %d replies", strings.Join(lines, "\n"), asked, answered), err
}

// packets calls f for every packet of a capture file.
func packets(file string, f func(p *capture.Packet) error) error {
	r, err := capture.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	var p capture.Packet
	for {
		if err := r.Next(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := f(&p); err != nil {
			return err
		}
	}
}

// replayed feeds each host's side of the capture to a port of its own in a
// switch described by a file.
func replayed(ctx context.Context, t *tour) (string, error) {
	inputs, file, err := t.replayInputs(ctx)
	if err != nil {
		return "", err
	}
	l, err := lab.Load(file)
	if err != nil {
		return "", err
	}
	one, two := t.path("replay1"), t.path("replay2")
	res, err := lab.Replay(l, inputs, one, lab.Options{Seed: 1})
	if err != nil {
		return "", err
	}
	if _, err := lab.Replay(l, inputs, two, lab.Options{Seed: 1, Expect: one}); err != nil {
		return "", err
	}
	files, err := sameFiles(one, two)
	if err != nil {
		return "", err
	}
	for _, p := range res.Ports {
		if p.In.Frames != echoes || p.Forwarded != echoes || p.Out.Frames != echoes {
			return "", fmt.Errorf("port %s: %d frames in, %d forwarded, %d out, want %d each", p.Name, p.In.Frames, p.Forwarded, p.Out.Frames, echoes)
		}
	}
	return fmt.Sprintf("%d frames through 2 ports in %v, all forwarded\n%d files the same to the byte in both runs",
		res.Records, res.Elapsed.Round(time.Microsecond), files), nil
}

// replayInputs parts the capture by source MAC and writes the file of the lab.
func (t *tour) replayInputs(ctx context.Context) (inputs map[string]string, file string, err error) {
	text := fmt.Sprintf("networks:\n  %s: {subnet: %s}\nports:\n", front, subnet(front))
	inputs = map[string]string{}
	for _, host := range []string{"rose", "iris"} {
		ls, err := t.links(ctx, host)
		if err != nil {
			return nil, "", err
		}
		a, err := t.addr(ctx, host, front)
		if err != nil {
			return nil, "", err
		}
		text += fmt.Sprintf("  %s: {network: %s, mac: %q, ip: %s}\n", host, front, ls[0].mac, a)
		inputs[host] = t.path(host + ".pcap")
		if err := t.side(ls[0].mac, inputs[host]); err != nil {
			return nil, "", err
		}
	}
	file = t.path("lab.yaml")
	return inputs, file, os.WriteFile(file, []byte(text), 0o644)
}

// side writes the captured packets with a source MAC to a file.
func (t *tour) side(mac, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := capture.NewPcapWriter(f)
	err = packets(t.path(captureFile), func(p *capture.Packet) error {
		if len(p.Data) >= 12 && fmt.Sprintf("%x", p.Data[6:12]) == strings.ReplaceAll(mac, ":", "") {
			return w.Write(p.Time, p.Data, p.OrigLen)
		}
		return nil
	})
	return errors.Join(err, w.Flush())
}

// sameFiles compares two directories file by file and returns how many there are.
func sameFiles(a, b string) (int, error) {
	es, err := os.ReadDir(a)
	if err != nil {
		return 0, err
	}
	for _, e := range es {
		x, err := os.ReadFile(filepath.Join(a, e.Name()))
		if err != nil {
			return 0, err
		}
		y, err := os.ReadFile(filepath.Join(b, e.Name()))
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(x, y) {
			return 0, fmt.Errorf("%s differs between the two runs", e.Name())
		}
	}
	if len(es) == 0 {
		return 0, errors.New("the replay wrote nothing")
	}
	return len(es), nil
}
