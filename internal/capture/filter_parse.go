package capture

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/frame"
)

// nodeOp says what a node of the tree is; a leaf holds a test.
type nodeOp uint8

const (
	opTest nodeOp = iota
	opAnd
	opOr
	opNot
)

type filterNode struct {
	op   nodeOp
	a, b *filterNode
	test test
}

func leaf(t test) *filterNode { return &filterNode{test: t} }

// qualifiers are the words before an address or number; the last ones hold for
// the next if it has none of its own.
type qualifiers struct {
	proto string // ether ip ip6 arp rarp tcp udp sctp, or empty
	side  side
	kind  string // host net port portrange proto, or empty
}

// filterParser is a recursive-descent parser; each method leaves i behind what
// it took.
type filterParser struct {
	expr  string
	words []word
	i     int
	last  qualifiers
}

// peek returns the next word, "" at the end.
func (p *filterParser) peek() string {
	if p.i < len(p.words) {
		return p.words[p.i].text
	}
	return ""
}

// accept takes the next word if it is one of those given.
func (p *filterParser) accept(texts ...string) bool {
	if p.i < len(p.words) && slices.Contains(texts, p.words[p.i].text) {
		p.i++
		return true
	}
	return false
}

// fail points at the next word.
func (p *filterParser) fail(msg string) error {
	e := &FilterError{Expr: p.expr, Pos: len(p.expr), Msg: msg}
	if p.i < len(p.words) {
		e.Word, e.Pos = p.words[p.i].text, p.words[p.i].pos
	}
	return e
}

// expression = term { (and | or) term }, from the left.
func (p *filterParser) expression(depth int) (*filterNode, error) {
	n, err := p.term(depth)
	for err == nil {
		op := opAnd
		if p.accept("or", "||") {
			op = opOr
		} else if !p.accept("and", "&&") {
			break
		}
		var b *filterNode
		b, err = p.term(depth)
		n = &filterNode{op: op, a: n, b: b}
	}
	return n, err
}

// term = not term | ( expression ) | primitive.
func (p *filterParser) term(depth int) (*filterNode, error) {
	if depth > maxFilterDepth {
		return nil, p.fail("nested too deeply")
	}
	switch {
	case p.accept("not", "!"):
		n, err := p.term(depth + 1)
		return &filterNode{op: opNot, a: n}, err
	case p.accept("("):
		n, err := p.expression(depth + 1)
		if err == nil && !p.accept(")") {
			err = p.fail("expected )")
		}
		return n, err
	}
	return p.primitive()
}

// primitive = one test with its qualifiers.
func (p *filterParser) primitive() (*filterNode, error) {
	switch {
	case p.accept("vlan"):
		return p.vlan()
	case p.accept("greater"):
		return p.length(testLonger)
	case p.accept("less"):
		return p.length(testShorter)
	case p.accept("dropped"):
		return p.dropped()
	}
	q, given := p.qualifiers()
	switch {
	case p.accept("broadcast"):
		return p.broadcast(q)
	case p.accept("multicast"):
		return p.multicast(q)
	case given && q.side == either && q.kind == "":
		return p.protocol(q)
	case !given && !p.atValue():
		return nil, p.fail("expected an address or one of " + primitiveWords)
	case !given:
		q = p.last
	}
	if q.kind == "" {
		q.kind = "host"
	}
	p.last = q
	return p.value(q)
}

const primitiveWords = "host net port portrange src dst proto ether ip ip6 arp tcp udp icmp icmp6 vlan broadcast multicast greater less dropped not"

// atValue reports whether the next word can only be an address or a number.
func (p *filterParser) atValue() bool {
	w := p.peek()
	return w != "" && (w[0] >= '0' && w[0] <= '9' || strings.ContainsRune(w, ':'))
}

// qualifiers = [protocol] [src | dst | src or dst | src and dst] [host | ...].
func (p *filterParser) qualifiers() (q qualifiers, given bool) {
	start := p.i
	if _, ok := protocols[p.peek()]; ok || p.peek() == "ether" {
		q.proto = p.peek()
		p.i++
	}
	if p.accept("src") {
		q.side = p.otherSide(sourceSide, "dst")
	} else if p.accept("dst") {
		q.side = p.otherSide(destSide, "src")
	}
	if slices.Contains([]string{"host", "net", "port", "portrange", "proto"}, p.peek()) {
		q.kind = p.peek()
		p.i++
	}
	return q, p.i > start
}

// otherSide takes "or dst" and "and dst" behind src, and the reverse.
func (p *filterParser) otherSide(one side, other string) side {
	if p.i+1 < len(p.words) && p.words[p.i+1].text == other {
		if p.accept("or", "||") {
			p.i++
			return either
		}
		if p.accept("and", "&&") {
			p.i++
			return bothSides
		}
	}
	return one
}

// vlan = vlan [identifier].
func (p *filterParser) vlan() (*filterNode, error) {
	if !p.atValue() {
		return leaf(test{kind: testVLAN}), nil
	}
	id, err := p.number(4095, "expected a VLAN identifier from 0 to 4095")
	return leaf(test{kind: testVID, lo: uint16(id)}), err
}

func (p *filterParser) length(kind testKind) (*filterNode, error) {
	n, err := p.number(1<<30, "expected a number of bytes")
	return leaf(test{kind: kind, n: n}), err
}

// dropped = dropped [reason].
func (p *filterParser) dropped() (*filterNode, error) {
	t := test{kind: testDropped}
	if w := p.peek(); w == "" || slices.Contains([]string{"and", "or", "&&", "||", ")"}, w) {
		return leaf(t), nil
	}
	var names []string
	for r := frame.NotDropped + 1; int(r) < frame.Reasons; r++ {
		if p.accept(r.String()) {
			t.reason = r
			return leaf(t), nil
		}
		names = append(names, r.String())
	}
	return nil, p.fail("no such drop reason; there are " + strings.Join(names, " "))
}

func (p *filterParser) broadcast(q qualifiers) (*filterNode, error) {
	if q != (qualifiers{}) && q != (qualifiers{proto: "ether"}) {
		p.i--
		return nil, p.fail("only ether may stand before it")
	}
	return leaf(test{kind: testMAC, side: destSide, mac: frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}), nil
}

func (p *filterParser) multicast(q qualifiers) (*filterNode, error) {
	switch q {
	case qualifiers{}, qualifiers{proto: "ether"}:
		return leaf(test{kind: testGroup}), nil
	case qualifiers{proto: "ip"}:
		t := prefixTest(netip.MustParsePrefix("224.0.0.0/4"))
		t.side, t.etherType = destSide, frame.EtherIPv4
		return leaf(t), nil
	case qualifiers{proto: "ip6"}:
		t := prefixTest(netip.MustParsePrefix("ff00::/8"))
		t.side = destSide
		return leaf(t), nil
	}
	p.i--
	return nil, p.fail("only ether, ip or ip6 may stand before it")
}

// number takes a decimal or 0x number.
func (p *filterParser) number(limit int, msg string) (int, error) {
	n, err := strconv.ParseUint(p.peek(), 0, 32)
	if err != nil || n > uint64(limit) {
		return 0, p.fail(msg)
	}
	p.i++
	return int(n), nil
}
