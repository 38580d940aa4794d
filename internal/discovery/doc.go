// Package discovery is weft's name service: the records of a node's networks, what each
// client sees of them, the servers that are asked for the rest, and the sockets on
// which all this is answered. It speaks DNS by the library miekg/dns, and knows nothing
// of sandboxes or of the cluster: a caller fills a [Table] with endpoints, services and
// static records, makes a [View] for each client and a [Forwarder] for its servers, and
// hands open sockets to a [Server].
//
// The rules are those of Docker's embedded server, and beyond them
//
//   - records can be listed with their origin, and written down (A, AAAA, CNAME, TXT, SRV, PTR,
//     wildcards: RFC 4592),
//   - SRV records follow from ports (RFC 2782), PTR records of VIPs are there,
//   - answers follow health: who is unhealthy or drains is no backend of a service, and gives way
//     to others of its name,
//   - a TTL of 5 s instead of 600, settable for all, a network, a record,
//   - answers of several networks can be merged, zones be forwarded to servers of their own,
//   - what is forwarded is cached (RFC 2308), and guarded against forgery (RFC 5452),
//   - the whole can be transferred (RFC 5936): see [Zone].
//
// Where Docker asks others for types that it has no records of, so does this: a name
// that is known here has no MX, but its TXT, NS or HTTPS records are those that the
// forwarder's servers have. A service whose backends are all gone is still known and
// has an empty answer, or its VIP; Docker forgets it.
//
// Also followed: RFC 1034, 1035, 2181, 3596, 6891 (EDNS), 7766 (TCP), 8482 (ANY).
//
// Not supported: DNSSEC of our own records, DNS over TLS or HTTPS, dynamic updates (RFC
// 2136), NOTIFY, incremental transfers, TSIG, names with other bytes than letters,
// digits, "-" and "_", empty non-terminals as obstacles to wildcards.
//
// A Table, View, Forwarder, Server, Zone and Stats may be used by several goroutines.
// Only a Server has any of its own, and Close waits for them.
package discovery
