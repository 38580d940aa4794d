package cli

import (
	"errors"
	"fmt"
	"io"

	"weft/internal/capture"
	"weft/internal/frame"
)

// printCapture shows the frames of a file that match, up to count (0: all).
func (a *app) printCapture(r *capture.Reader, filter *capture.Filter, count int) error {
	var p capture.Packet
	for shown := 0; count == 0 || shown < count; {
		err := r.Next(&p)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !matches(filter, &p) {
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

func matches(filter *capture.Filter, p *capture.Packet) bool {
	var f frame.Frame
	f.Wrap(p.Data, 0)
	f.Drop(p.Reason)
	if p.Reason == frame.NotDropped {
		f.Verdict = frame.Forwarded
	}
	return filter.Match(&f)
}

// frameText describes a frame, and how long it was if it is cut short.
func frameText(data []byte, origLen int) string {
	if len(data) < origLen {
		return fmt.Sprintf("%s of %d", capture.Summary(data), origLen)
	}
	return capture.Summary(data)
}
