package capture

import (
	"fmt"

	"weft/internal/frame"
)

// A Filter decides which frames a capture takes. The expression is tcpdump's
// (pcap-filter(7)), as far as it goes:
//
//	[ip|ip6|arp] [src|dst|src or dst|src and dst] host ADDR      the word host may be left out
//	[ip|ip6|arp] [src|dst|...] net ADDR/LEN, net ADDR mask MASK, net 10.1
//	[tcp|udp|sctp] [src|dst|...] port N, portrange N-M
//	ether [src|dst|...] host MAC, ether proto N, [ip|ip6] proto N
//	arp rarp ip ip6 tcp udp sctp icmp icmp6 igmp esp ah, vlan [N]
//	[ether] broadcast, [ether|ip|ip6] multicast, greater N, less N (bytes, both inclusive)
//	dropped [REASON]
//
// joined by and (&&), or (||), not (!) and parentheses. As in tcpdump, and and
// or bind equally and from the left, and an address or number alone takes the
// qualifiers of the one before it.
//
// Beyond tcpdump: "dropped", frames that the switch dropped, for REASON alone
// if given; everything looks below VLAN tags; ports are found behind IPv6
// extension headers. Names of hosts and services are not resolved.
//
// A Filter is immutable and safe for concurrent use. A nil Filter takes every
// frame.
type Filter struct {
	expr string
	// code is a program of tests with a jump for each outcome, as BPF has it,
	// so that matching needs no recursion. It starts at entry.
	code  []instr
	entry int
}

// Jump targets that end the program.
const (
	accept = -1
	reject = -2
)

type instr struct {
	test
	yes, no int
}

// The bounds of an expression.
const (
	maxFilterLen   = 4096
	maxFilterDepth = 64
)

// A FilterError points at the word an expression fails at.
type FilterError struct {
	Expr string
	Pos  int    // byte offset of the word
	Word string // empty at the end of the expression
	Msg  string
}

// Error names the word and its column.
func (e *FilterError) Error() string {
	if e.Word == "" {
		return fmt.Sprintf("filter %q: at the end: %s", e.Expr, e.Msg)
	}
	return fmt.Sprintf("filter %q: column %d, at %q: %s", e.Expr, e.Pos+1, e.Word, e.Msg)
}

// ParseFilter compiles an expression. The empty one takes every frame. Errors
// are *FilterError.
func ParseFilter(expr string) (*Filter, error) {
	if len(expr) > maxFilterLen {
		return nil, &FilterError{Expr: expr[:32] + "...", Msg: fmt.Sprintf("%d bytes long, at most %d", len(expr), maxFilterLen)}
	}
	p := &filterParser{expr: expr, words: lex(expr)}
	f := &Filter{expr: expr, entry: accept}
	if len(p.words) == 0 {
		return f, nil
	}
	root, err := p.expression(0)
	if err == nil && p.i < len(p.words) {
		err = p.fail("expected and, or, or the end")
	}
	if err != nil {
		return nil, err
	}
	f.entry = f.gen(root, accept, reject)
	return f, nil
}

// String returns the expression.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return f.expr
}

// gen appends the code for a tree and returns where it starts. What comes later
// is generated first, so every jump target is known.
func (f *Filter) gen(n *filterNode, yes, no int) int {
	switch n.op {
	case opAnd:
		return f.gen(n.a, f.gen(n.b, yes, no), no)
	case opOr:
		return f.gen(n.a, yes, f.gen(n.b, yes, no))
	case opNot:
		return f.gen(n.a, no, yes)
	}
	f.code = append(f.code, instr{test: n.test, yes: yes, no: no})
	return len(f.code) - 1
}

// Match reports whether the filter takes a frame. It looks at the raw bytes, so
// the frame need not have been parsed; Verdict and Reason must be set for
// "dropped". It does not allocate.
func (f *Filter) Match(fr *frame.Frame) bool {
	if f == nil || f.entry == accept {
		return true
	}
	var x facts
	x.find(fr)
	pc := f.entry
	for pc >= 0 {
		in := &f.code[pc]
		if in.holds(&x) {
			pc = in.yes
		} else {
			pc = in.no
		}
	}
	return pc == accept
}
