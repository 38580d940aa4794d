// Package nettool holds the small network programs that weft brings along, so
// that its tour and its tests need no other: ping (RFC 792, RFC 4443), a TCP
// transfer whose bytes are verified by SHA-256, a UDP blast that counts what
// arrives, a web server and a client for it (RFC 9110), and a sender of packets
// with a forged source. They are run inside sandboxes as `weft tool NAME`.
//
// Ping and forge use raw sockets and so need CAP_NET_RAW, which a process in a
// sandbox has. Not supported: ICMP errors, path MTU discovery, https.
//
// [Serve], [Send], [Web] and [Fetch] take any net.Listener and net.Conn: the tour's
// in-process hosts use them too. Every function may be called from several goroutines.
package nettool
