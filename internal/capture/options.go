package capture

// Option codes of pcapng (draft-ietf-opsawg-pcapng, 3.5 and 4). Numbers are
// reused from block to block.
const (
	optEnd     = 0
	optComment = 1

	optUserAppl = 4 // section header

	optIfName   = 2 // interface
	optTSResol  = 9
	optFCSLen   = 13
	optTSOffset = 14

	optFlags = 2 // enhanced packet

	optIfRecv = 4 // interface statistics
	optIfDrop = 5
)

// The direction bits of epb_flags.
const (
	flagInbound  = 1
	flagOutbound = 2
)
