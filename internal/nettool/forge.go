package nettool

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
)

func forgeTool(fs *flag.FlagSet, args []string, out io.Writer) error {
	count := fs.Int("c", 3, "")
	if err := parse(fs, args, 2, 2); err != nil {
		return err
	}
	src, err := netip.ParseAddr(fs.Arg(0))
	dst, err2 := netip.ParseAddr(fs.Arg(1))
	if err != nil || err2 != nil || !src.Is4() || !dst.Is4() {
		return fmt.Errorf("%s and %s: expected two IPv4 addresses", fs.Arg(0), fs.Arg(1))
	}
	if err := Forge(src, dst, *count); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d packets sent to %s in the name of %s\n", *count, dst, src)
	return nil
}

// Forge sends count ICMP echo requests to dst whose IPv4 source is src, whoever
// owns that. A socket of protocol 255 (IPPROTO_RAW) takes the header as given.
func Forge(src, dst netip.Addr, count int) error {
	conn, err := net.ListenPacket("ip4:255", "0.0.0.0")
	if err != nil {
		return fmt.Errorf("raw socket (needs CAP_NET_RAW, which processes in a sandbox have): %w", err)
	}
	defer conn.Close()
	for i := range count {
		if _, err := conn.WriteTo(ForgedEcho(src, dst, uint16(i+1)), &net.IPAddr{IP: dst.AsSlice()}); err != nil {
			return fmt.Errorf("send to %s as %s: %w", dst, src, err)
		}
	}
	return nil
}

// ForgedEcho builds an IPv4 packet with an echo request from src to dst.
func ForgedEcho(src, dst netip.Addr, seq uint16) []byte {
	icmp := Echo(false, false, 0xbad, seq, 56)
	b := make([]byte, 20, 20+len(icmp))
	b[0], b[8], b[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(icmp)))
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, icmp...)
}
