package capture

import (
	"bytes"
	"io"
	"os"

	"weft/internal/frame"
)

// MaxRecord is the longest record taken from a file, in bytes. A longer one is
// stepped over and handed out without data and with the reason frame.Oversized.
const MaxRecord = 65535

// A Packet is one record of a capture file.
type Packet struct {
	Time    int64 // nanoseconds since 1970 UTC, never negative
	Offset  int64 // of the record or block in the file
	OrigLen int   // length on the wire in bytes; more than len(Data) when it was cut short
	// Data is the frame from its destination MAC on, without a frame check
	// sequence; it may be empty.
	//
	// borrowed: valid until the next call of Next.
	Data []byte
	// Reason is frame.Oversized for a record that is stepped over.
	Reason frame.Reason
}

// Snapped reports whether the capture holds less than was on the wire.
func (p *Packet) Snapped() bool { return p.OrigLen > len(p.Data) && p.Reason == frame.NotDropped }

// A Reader reads one capture file, record after record.
type Reader struct {
	src    source
	closer io.Closer
	format format
	done   error // sticky: io.EOF or what is wrong
}

// A format is one of the two file formats, past its file header.
type format interface {
	next(s *source, p *Packet) error
}

// Open opens a capture file. The caller closes it.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := NewReader(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.closer = f
	return r, nil
}

// NewReader reads a capture from r; name stands for the path in errors.
func NewReader(name string, r io.Reader) (*Reader, error) {
	c := &Reader{src: source{path: name, r: r, buf: make([]byte, sourceSize)}}
	magic := c.src.peek(4)
	if len(magic) < 4 {
		return nil, c.src.damaged(0, "too short for a capture file: %d bytes", len(magic))
	}
	var err error
	if bytes.Equal(magic, ngMagic) {
		c.format = &ngFormat{}
	} else {
		c.format, err = openPcap(&c.src)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Next reads the next record into p. It returns io.EOF after the last record,
// and a *FormatError where the file is damaged; both stay.
func (c *Reader) Next(p *Packet) error {
	if c.done == nil {
		c.done = c.format.next(&c.src, p)
	}
	return c.done
}

// Close closes the file that Open opened.
func (c *Reader) Close() error {
	if c.closer == nil {
		return nil
	}
	return c.closer.Close()
}

// foreign names well-known file formats that are no captures, by how they
// begin, so that the error says what to do.
func foreign(head []byte) string {
	for _, k := range []struct{ magic, what string }{
		{"\x1f\x8b", "gzip data: decompress it first"},
		{"\x28\xb5\x2f\xfd", "zstd data: decompress it first"},
		{"\xfd7zXZ", "xz data: decompress it first"},
		{"\x04\x22\x4d\x18", "lz4 data: decompress it first"},
		{"PK\x03\x04", "a zip archive: unpack it first"},
		{"snoop\x00", "a Solaris snoop file: convert it with `editcap -F pcapng`"},
		{"GMBU", "a Microsoft Network Monitor file: convert it with `editcap -F pcapng`"},
		{"RTSS", "a Microsoft Network Monitor file: convert it with `editcap -F pcapng`"},
		{"\xa1\xb2\xcd\x34", "a modified pcap file: convert it with `editcap -F pcap`"},
		{"\x34\xcd\xb2\xa1", "a modified pcap file: convert it with `editcap -F pcap`"},
	} {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.what
		}
	}
	return ""
}
