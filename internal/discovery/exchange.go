package discovery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxReceive is the largest answer that is read from a datagram. Servers that know no
// EDNS may send more than 512 bytes; what is cut off here is asked for again over TCP.
const maxReceive = 8 << 10

// maxSpoofed is how many wrong answers are passed by until a server is given up:
// somebody is guessing then.
const maxSpoofed = 256

var errSpoofed = errors.New("too many answers to other questions")

// outgoing is the question as it goes to a server: with an ID of its own, the client's
// flags, and of its OPT record what is not between client and server alone.
func outgoing(query *dns.Msg, name string, edns bool) *dns.Msg {
	m := new(dns.Msg)
	var id [2]byte
	rand.Read(id[:]) // never fails
	m.Id = binary.BigEndian.Uint16(id[:])
	m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = query.RecursionDesired, query.CheckingDisabled, query.AuthenticatedData
	q := query.Question[0]
	m.Question = []dns.Question{{Name: name, Qtype: q.Qtype, Qclass: q.Qclass}}
	if o := query.IsEdns0(); o != nil && edns {
		m.SetEdns0(ednsSize, o.Do())
		m.IsEdns0().Option = passed(o.Option)
	}
	return m
}

// passed returns the options that may be given on: not cookies (RFC 7873), keepalive
// (RFC 7828) and padding (RFC 7830), which are between two neighbours.
func passed(of []dns.EDNS0) (out []dns.EDNS0) {
	for _, o := range of {
		switch o.Option() {
		case dns.EDNS0COOKIE, dns.EDNS0TCPKEEPALIVE, dns.EDNS0PADDING:
		default:
			out = append(out, o)
		}
	}
	return out
}

// exchange asks one server over UDP, and again over TCP where the answer was truncated.
func (f *Forwarder) exchange(ctx context.Context, u *upstream, q *dns.Msg) (*dns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, err
	}
	m, err := f.overUDP(ctx, u, q, wire)
	if err != nil || !m.Truncated {
		return m, err
	}
	f.stats.count(RetriedTCP)
	if whole, err := f.overTCP(ctx, u, q, wire); err == nil {
		return whole, nil
	}
	return m, nil // the client may try for itself
}

func (f *Forwarder) overUDP(ctx context.Context, u *upstream, q *dns.Msg, wire []byte) (*dns.Msg, error) {
	conn, done, err := f.open(ctx, u, "udp")
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := f.buffers.Get().(*[]byte)
	defer f.buffers.Put(buf)
	for range maxSpoofed {
		n, err := conn.Read(*buf)
		if err != nil {
			return nil, err
		}
		if m := matching(q, (*buf)[:n]); m != nil {
			return m, nil
		}
		f.stats.count(Spoofed)
	}
	return nil, errSpoofed
}

func (f *Forwarder) overTCP(ctx context.Context, u *upstream, q *dns.Msg, wire []byte) (*dns.Msg, error) {
	conn, done, err := f.open(ctx, u, "tcp")
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	if m := matching(q, b); m != nil && !m.Truncated {
		return m, nil
	}
	f.stats.count(Spoofed)
	return nil, errSpoofed
}

// open dials a server; the connection ends with the context or after the timeout, and
// done must be called.
func (f *Forwarder) open(ctx context.Context, u *upstream, network string) (conn net.Conn, done func(), err error) {
	dctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if conn, err = u.dial(dctx, network, u.Addr.String()); err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(f.cfg.Timeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); conn.Close() }, nil
}

// matching returns a message if it is the answer to the question: same ID and question,
// in whatever case. An answer that is cut off is taken for a truncated one.
func matching(q *dns.Msg, b []byte) *dns.Msg {
	if len(b) < headerLen || binary.BigEndian.Uint16(b) != q.Id || b[2]&flagQR == 0 || b[2]>>3&15 != dns.OpcodeQuery {
		return nil
	}
	m := new(dns.Msg)
	err := m.Unpack(b)
	if len(m.Question) != 1 {
		return nil
	}
	asked, got := q.Question[0], m.Question[0]
	if got.Qtype != asked.Qtype || got.Qclass != asked.Qclass || !strings.EqualFold(got.Name, asked.Name) {
		return nil
	}
	if err != nil {
		if len(b) < maxReceive && !m.Truncated {
			return nil
		}
		m.Answer, m.Ns, m.Extra, m.Truncated = nil, nil, nil, true
	}
	return m
}

func timeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
