// Package capture reads and writes packet captures, selects frames with a
// BPF-like filter and carries copies of frames from the data path's workers to
// a capture's reader.
//
//   - [Reader] reads classic pcap (draft-ietf-opsawg-pcap: both byte orders,
//     micro- and nanoseconds) and pcapng (draft-ietf-opsawg-pcapng: every
//     section, enhanced, simple and obsolete packet blocks). Files are
//     untrusted: a damaged one is refused with path, offset and what is wrong.
//   - [PcapWriter] writes classic pcap with nanoseconds, [NGWriter] pcapng with
//     interface names, directions, drop reasons as comments, and statistics.
//     Both write the same bytes for the same input on every machine.
//   - [Filter] is tcpdump's common subset plus "dropped [reason]".
//   - [Ring] is a bounded buffer between many workers and one reader, [Stream]
//     turns it into a live pcapng file.
//
// Readers and writers are our own and not gopacket's pcapgo: that one has no
// packet options on writing, no offsets in its errors, and allocates what a
// hostile file tells it to.
//
// Not supported: link types other than Ethernet (refused by name), compressed
// files, pcapng custom blocks and decryption secrets (skipped), the modified
// pcap of old Red Hat systems (refused by name).
//
// Safe for concurrent use: Filter.Match, and Ring as far as its methods say so.
// Everything else belongs to one goroutine.
package capture
