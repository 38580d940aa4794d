package lab

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"weft/internal/cnm"
	"weft/internal/frame"
)

// Each function here returns what reads one value into its destination.

// word is one scalar that is not null.
func (r *reader) word(v *yaml.Node, where string) (string, bool) {
	if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
		r.fail(v.Line, where, "expected one value, found %s", kindOf(v))
		return "", false
	}
	return v.Value, true
}

func (r *reader) text(to *string) func(*yaml.Node, string) {
	return func(v *yaml.Node, where string) {
		if s, ok := r.word(v, where); ok {
			*to = s
		}
	}
}

// parsed reads a scalar with a parser; want says what was expected.
func parsed[T any](r *reader, to *T, want string, parse func(string) (T, error)) func(*yaml.Node, string) {
	return func(v *yaml.Node, where string) {
		s, ok := r.word(v, where)
		if !ok {
			return
		}
		x, err := parse(s)
		if err != nil {
			r.fail(v.Line, where, "found %q, expected %s", s, want)
			return
		}
		*to = x
	}
}

func (r *reader) flag(to *bool) func(*yaml.Node, string) {
	return parsed(r, to, "true or false", func(s string) (bool, error) {
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, strconv.ErrSyntax
	})
}

func (r *reader) number(to *int, lo, hi int) func(*yaml.Node, string) {
	want := "a number from " + strconv.Itoa(lo) + " to " + strconv.Itoa(hi)
	return parsed(r, to, want, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err == nil && (n < lo || n > hi) {
			err = strconv.ErrRange
		}
		return n, err
	})
}

func (r *reader) addr(to *netip.Addr) func(*yaml.Node, string) {
	return parsed(r, to, "an IP address", parseAddr)
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() != "" {
		err = strconv.ErrSyntax
	}
	return a.Unmap(), err
}

func (r *reader) mac(to *frame.MAC) func(*yaml.Node, string) {
	return parsed(r, to, "a unicast MAC address such as 02:42:0a:00:01:02 (in quotes)", parseMAC)
}

func parseMAC(s string) (frame.MAC, error) {
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 || m[0]&1 == 1 || frame.MAC(m) == (frame.MAC{}) {
		return frame.MAC{}, strconv.ErrSyntax
	}
	return frame.MAC(m), nil
}

func (r *reader) duration(to *time.Duration) func(*yaml.Node, string) {
	return parsed(r, to, "a duration such as 10ms", func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err == nil && d < 0 {
			err = strconv.ErrRange
		}
		return d, err
	})
}

func (r *reader) percent(to *float64) func(*yaml.Node, string) {
	return parsed(r, to, "a share such as 1%", func(s string) (float64, error) {
		num, ok := strings.CutSuffix(s, "%")
		f, err := strconv.ParseFloat(num, 64)
		if !ok || err != nil || !(f >= 0 && f <= 100) {
			return 0, strconv.ErrSyntax
		}
		return f / 100, nil
	})
}

// rate reads bits per second in tc's words: bit, kbit, mbit, gbit.
func (r *reader) rate(to *uint64) func(*yaml.Node, string) {
	return parsed(r, to, "a rate such as 10mbit", func(s string) (uint64, error) {
		num, ok := strings.CutSuffix(s, "bit")
		unit := 1.0
		for suffix, u := range map[string]float64{"k": 1e3, "m": 1e6, "g": 1e9} {
			if n, has := strings.CutSuffix(num, suffix); has {
				num, unit = n, u
			}
		}
		f, err := strconv.ParseFloat(num, 64)
		if bits := f * unit; ok && err == nil && bits >= 1 && bits <= 1e15 {
			return uint64(bits), nil
		}
		return 0, strconv.ErrSyntax
	})
}

// each reads a list, or one value as a list of one.
func each(one func(v *yaml.Node, where string)) func(*yaml.Node, string) {
	return func(v *yaml.Node, where string) {
		if v.Kind != yaml.SequenceNode {
			one(v, where)
			return
		}
		for i, item := range v.Content {
			one(item, where+"["+strconv.Itoa(i)+"]")
		}
	}
}

func (r *reader) texts(to *[]string) func(*yaml.Node, string) {
	return each(func(v *yaml.Node, where string) {
		if s, ok := r.word(v, where); ok {
			*to = append(*to, s)
		}
	})
}

func (r *reader) addrs(to *[]netip.Addr) func(*yaml.Node, string) {
	return each(func(v *yaml.Node, where string) {
		var a netip.Addr
		if r.addr(&a)(v, where); a.IsValid() {
			*to = append(*to, a)
		}
	})
}

// prefixes reads addresses with the length of their network's prefix, or without: then it
// is the address alone.
func (r *reader) prefixes(to *[]netip.Prefix) func(*yaml.Node, string) {
	return each(func(v *yaml.Node, where string) {
		var p netip.Prefix
		parsed(r, &p, "an address with or without the length of its network's prefix, such as 192.0.2.1/24", func(s string) (netip.Prefix, error) {
			if a, err := parseAddr(s); err == nil {
				return netip.PrefixFrom(a, a.BitLen()), nil
			}
			return netip.ParsePrefix(s)
		})(v, where)
		if p.IsValid() {
			*to = append(*to, p)
		}
	})
}

// publish reads ports as `run --publish` does.
func (r *reader) publish(to *[]cnm.PortMapping) func(*yaml.Node, string) {
	return each(func(v *yaml.Node, where string) {
		s, ok := r.word(v, where)
		if !ok {
			return
		}
		m, err := cnm.ParsePublish(s)
		if err != nil {
			r.fail(v.Line, where, "%v", err)
		}
		if r.published += len(m); r.published > maxPublished {
			r.fail(v.Line, where, "more than the %d published ports a lab may have", maxPublished)
			return
		}
		*to = append(*to, m...)
	})
}

// texts by key: a mapping, or a list of KEY=VALUE.
func (r *reader) table(to *map[string]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, where string) {
		*to = map[string]string{}
		if n.Kind == yaml.SequenceNode {
			each(func(v *yaml.Node, where string) {
				if s, ok := r.word(v, where); ok {
					key, value, _ := strings.Cut(s, "=")
					(*to)[key] = value
				}
			})(n, where)
			return
		}
		r.pairs(n, where, func(k, v *yaml.Node) {
			if v.Tag == "!!null" {
				(*to)[k.Value] = ""
			} else if s, ok := r.word(v, join(where, k.Value)); ok {
				(*to)[k.Value] = s
			}
		})
	}
}
