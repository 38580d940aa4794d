package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/capture"
	"weft/internal/frame"
)

// Capture files as text. What weft wrote, and any other pcapng file, is read with
// the ngReader, which keeps port, direction and comments; classic pcap has none.

// readCapture shows a file's frames that match.
func (a *app) readCapture(c *cobra.Command, f *captureFlags, expr []string) error {
	if err := f.check(c, expr); err != nil {
		return err
	}
	for _, flag := range []string{"write", "snaplen", "duration"} {
		if c.Flags().Changed(flag) {
			return usagef(c, "--read and --%s exclude each other: --read shows a file as text", flag)
		}
	}
	filter, err := capture.ParseFilter(f.filter)
	if err != nil {
		return err
	}
	from := a.in
	if f.read != "-" {
		file, err := os.Open(f.read)
		if err != nil {
			return err
		}
		defer file.Close()
		from = file
	}
	in := bufio.NewReaderSize(from, 128<<10)
	if magic, _ := in.Peek(4); bytes.Equal(magic, ngMagic) {
		if err := a.printNG(in, f, filter); err != nil {
			return fmt.Errorf("%s: %w", f.read, err)
		}
		return nil
	}
	if f.before || f.after {
		return fmt.Errorf("%s: --before and --after need a pcapng file: a pcap file does not tell directions", f.read)
	}
	r, err := capture.NewReader(f.read, in)
	if err != nil {
		return err
	}
	return a.printPcap(r, filter, f.count)
}

// printNG shows the packets of a pcapng file that match, up to --count.
func (a *app) printNG(in io.Reader, f *captureFlags, filter *capture.Filter) error {
	r := newNGReader(in)
	for shown := 0; f.count == 0 || shown < f.count; {
		b, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("byte %d: the file ends within a block", r.off)
		}
		if err != nil {
			return err
		}
		if !b.isPacket() {
			continue
		}
		p, err := r.packet(b)
		if err != nil {
			return err
		}
		verdict, reason := p.verdict()
		if (f.before && p.flags&3 == ngOut) || (f.after && p.flags&3 == ngIn) || !matches(filter, p.data, p.origLen, verdict, reason) {
			continue
		}
		shown++
		if err := a.printPacket(r, p); err != nil {
			return err
		}
	}
	return nil
}

// verdict is what the packet's comments say became of the frame.
func (p *ngPacketView) verdict() (frame.Verdict, frame.Reason) {
	for _, c := range p.comments {
		if name, ok := strings.CutPrefix(c, "dropped: "); ok {
			for r := range frame.Reason(frame.Reasons) {
				if r.String() == name {
					return frame.Dropped, r
				}
			}
			return frame.Dropped, frame.NotDropped // a reason of another version
		}
		for v := range frame.Dropped {
			if v.String() == c {
				return v, frame.NotDropped
			}
		}
	}
	return frame.Forwarded, frame.NotDropped
}

// printBlock shows a live capture's packet as a line of text.
func (a *app) printBlock(r *ngReader, b ngBlock) error {
	if !b.isPacket() {
		return nil
	}
	p, err := r.packet(b)
	if err != nil {
		return err
	}
	return a.printPacket(r, p)
}

func (a *app) printPacket(r *ngReader, p ngPacketView) error {
	way := "-  "
	switch p.flags & 3 {
	case ngIn:
		way = "in "
	case ngOut:
		way = "out"
	}
	name := r.name(p.iface)
	if name == "" {
		name = "-"
	}
	_, err := fmt.Fprintf(a.out, "%s %-20s %s %s%s\n", clock(p.nanos), name, way, frameText(p.data, p.origLen), remarks(p.comments))
	return err
}

// printPcap shows the frames of a pcap file that match, up to count (0: all).
func (a *app) printPcap(r *capture.Reader, filter *capture.Filter, count int) error {
	var p capture.Packet
	for shown := 0; count == 0 || shown < count; {
		err := r.Next(&p)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		verdict := frame.Forwarded
		if p.Reason != frame.NotDropped {
			verdict = frame.Dropped
		}
		if !matches(filter, p.Data, p.OrigLen, verdict, p.Reason) {
			continue
		}
		shown++
		text := fmt.Sprintf("record of %d bytes, stepped over: %s", p.OrigLen, p.Reason)
		if p.Reason == frame.NotDropped {
			text = frameText(p.Data, p.OrigLen)
		}
		if _, err := fmt.Fprintf(a.out, "%s %s\n", clock(p.Time), text); err != nil {
			return err
		}
	}
	return nil
}

// matches asks the filter about a frame as it was: one cut short behind its
// headers counts with its whole length.
func matches(filter *capture.Filter, data []byte, origLen int, verdict frame.Verdict, reason frame.Reason) bool {
	const headers = 256
	if len(data) >= headers && origLen > len(data) && origLen <= frame.MaxFrame {
		data = append(make([]byte, 0, origLen), data...)[:origLen]
	}
	var f frame.Frame
	f.Wrap(data, 0)
	if verdict == frame.Dropped {
		f.Drop(reason)
	}
	f.Verdict = verdict
	return filter.Match(&f)
}

// frameText describes a frame, and how long it was if it is cut short.
func frameText(data []byte, origLen int) string {
	if len(data) < origLen {
		return fmt.Sprintf("%s of %d", capture.Summary(data), origLen)
	}
	return capture.Summary(data)
}

func clock(nanos int64) string { return time.Unix(0, nanos).Format("15:04:05.000000") }

func remarks(comments []string) string {
	if len(comments) == 0 {
		return ""
	}
	return " [" + strings.Join(comments, "; ") + "]"
}
