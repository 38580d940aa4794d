package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"weft/arp"
	"weft/internal/capture"
	"weft/internal/frame"
)

// vxlanLen is the length of the VXLAN header, which is read and written here by the
// letter of RFC 7348, section 5, not by the code that is on show:
//
//	flags (0x08: the VNI is valid) | 3 bytes reserved | 3 bytes VNI | 1 byte reserved
const vxlanLen = 8

// A datagram is a VXLAN datagram as the witness got it.
type datagram struct {
	from  netip.AddrPort
	head  []byte
	inner []byte
}

func decode(from netip.AddrPort, b []byte) (datagram, error) {
	if len(b) < vxlanLen {
		return datagram{}, fmt.Errorf("%d bytes from %s are no VXLAN datagram", len(b), from)
	}
	return datagram{from, b[:vxlanLen], b[vxlanLen:]}, nil
}

// valid reports the I flag.
func (d datagram) valid() bool { return d.head[0]&0x08 != 0 }

func (d datagram) vni() uint32 { return binary.BigEndian.Uint32(d.head[4:]) >> 8 }

// describe returns the datagram from outside in, a line for each layer.
func (d datagram) describe(to netip.AddrPort) string {
	return fmt.Sprintf("outer %s > %s UDP, %d B of payload\nVXLAN % x: flags 0x%02x, VNI %d\ninner %s",
		d.from, to, len(d.head)+len(d.inner), d.head, d.head[0], d.vni(), capture.Summary(d.inner))
}

// asks returns who an inner frame asks for by ARP, nobody if it does not.
func (d datagram) asks() netip.Addr {
	var f frame.Frame
	f.Wrap(d.inner, 0)
	if f.Parse() != frame.NotDropped {
		return netip.Addr{}
	}
	p, err := arp.ParsePacket(&f)
	if err != nil || p.Op != arp.OpRequest {
		return netip.Addr{}
	}
	return p.TargetIP
}

// drain throws away what the witness was sent before now.
func (c *chapter) drain() error {
	for {
		if _, err := c.receive(time.Now().Add(time.Millisecond)); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// await returns the first datagram whose inner frame asks for an address.
func (c *chapter) await(ctx context.Context, who netip.Addr) (datagram, error) {
	until, _ := ctx.Deadline()
	for {
		d, err := c.receive(until)
		if err != nil || d.asks() == who {
			return d, err
		}
	}
}

func (c *chapter) receive(until time.Time) (d datagram, err error) {
	if err := c.witness.SetReadDeadline(until); err != nil {
		return d, err
	}
	b := make([]byte, 1<<16)
	n, from, err := c.witness.ReadFromUDPAddrPort(b)
	if err != nil {
		return d, err
	}
	return decode(from, b[:n])
}

// question returns a VXLAN datagram in which a MAC and an address that nobody has
// ask for a host (RFC 826).
func question(mac net.HardwareAddr, from, to netip.Addr) []byte {
	return slices.Concat(
		[]byte{0x08, 0, 0, 0, wideVNI >> 16, wideVNI >> 8 & 0xff, wideVNI & 0xff, 0},
		[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, []byte{0x08, 0x06},
		[]byte{0, 1, 0x08, 0, 6, 4, 0, arp.OpRequest}, mac, from.AsSlice(), make([]byte, 6), to.AsSlice())
}
