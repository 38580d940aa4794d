package discovery

import (
	"net"
	"net/netip"
	"testing"
)

// serve starts a server on UDP and TCP of one loopback port.
func serve(t testing.TB, c ServerConfig) (*Server, netip.AddrPort) {
	t.Helper()
	s := NewServer(c)
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err != nil { // somebody has the port over TCP
			pc.Close()
			continue
		}
		s.ServePacket(pc)
		s.ServeStream(l)
		t.Cleanup(func() { s.Close() })
		return s, pc.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	t.Fatal("no port is free for both")
	return nil, netip.AddrPort{}
}
