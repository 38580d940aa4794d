package nettool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"time"
)

// Theory of operation.
//
// A client sends a request, and as many bytes as it announces; the server reads
// them and answers with what it counted:
//
//	request: | "weft" | mode | 0 0 0 | length or session, 8 bytes |
//	answer:  | bytes, 8 | datagrams, 8 | SHA-256 or zeros, 32 |
//
// Modes: 'h' hashes the bytes, 'n' only counts them, 'u' has no bytes and asks
// what the server has received by UDP in a session; its datagrams begin with the
// session's number. A connection serves one request. A client that sends less
// than it announced, or another request, is cut off.
const (
	magic      = "weft"
	modeHash   = 'h'
	modeCount  = 'n'
	modeUDP    = 'u'
	requestLen = 16
	answerLen  = 48
)

// block is how much is written and read at a time.
const block = 256 << 10

func request(mode byte, arg uint64) []byte {
	b := make([]byte, requestLen)
	copy(b, magic)
	b[4] = mode
	binary.BigEndian.PutUint64(b[8:], arg)
	return b
}

// An Answer is what a server counted.
type Answer struct {
	Bytes, Datagrams uint64
	Sum              [sha256.Size]byte
}

func (a *Answer) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, answerLen), a.Bytes)
	return append(binary.BigEndian.AppendUint64(b, a.Datagrams), a.Sum[:]...)
}

func readAnswer(r io.Reader) (a Answer, err error) {
	b := make([]byte, answerLen)
	if _, err := io.ReadFull(r, b); err != nil {
		return a, fmt.Errorf("the server's answer: %w", err)
	}
	a.Bytes, a.Datagrams = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	a.Sum = [32]byte(b[16:])
	return a, nil
}

// A Transfer is what a Send achieved.
type Transfer struct {
	Bytes uint64
	Took  time.Duration     // from the first byte sent to the server's answer
	Sum   [sha256.Size]byte // zero unless verified
}

// Gbits returns the rate in Gbit/s.
func (t *Transfer) Gbits() float64 { return float64(t.Bytes) * 8 / t.Took.Seconds() / 1e9 }

// String describes the transfer in one line.
func (t *Transfer) String() string {
	s := fmt.Sprintf("%d MB in %.3f s: %.2f Gbit/s", t.Bytes>>20, t.Took.Seconds(), t.Gbits())
	if t.Sum != [32]byte{} {
		s += fmt.Sprintf(", sha256 %x…", t.Sum[:6])
	}
	return s
}

// ErrCorrupt means that a server counted or summed other bytes than were sent.
var ErrCorrupt = errors.New("what arrived is not what was sent")

// Send sends n bytes, no two blocks of them alike, over conn to a [Serve] and
// waits for its answer. With verify the SHA-256 of what arrived is held against
// that of what was sent, which costs both ends time and so slows a fast path.
func Send(conn net.Conn, n uint64, verify bool) (Transfer, error) {
	mode, sum := byte(modeCount), hash.Hash(nil)
	if verify {
		mode, sum = modeHash, sha256.New()
	}
	data := pattern()
	start := time.Now()
	if _, err := conn.Write(request(mode, n)); err != nil {
		return Transfer{}, fmt.Errorf("send: %w", err)
	}
	for left, i := n, uint64(0); left > 0; i++ {
		binary.BigEndian.PutUint64(data, i)
		part := data[:min(left, block)]
		if verify {
			sum.Write(part)
		}
		if _, err := conn.Write(part); err != nil {
			return Transfer{}, fmt.Errorf("send after %d bytes: %w", n-left, err)
		}
		left -= uint64(len(part))
	}
	a, err := readAnswer(conn)
	t := Transfer{Bytes: n, Took: time.Since(start), Sum: a.Sum}
	if err != nil {
		return t, err
	}
	if a.Bytes != n {
		return t, fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, a.Bytes, n)
	}
	if verify && !bytes.Equal(sum.Sum(nil), a.Sum[:]) {
		return t, fmt.Errorf("%w: sha256 %x, sent %x", ErrCorrupt, a.Sum, sum.Sum(nil))
	}
	return t, nil
}

// pattern returns a block that does not repeat within itself.
func pattern() []byte {
	b := make([]byte, block)
	x := uint64(0x9e3779b97f4a7c15)
	for i := 0; i < len(b); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	return b
}
