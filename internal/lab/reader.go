package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxErrors is how many mistakes are reported at a time.
const maxErrors = 10

// A reader walks the nodes of a lab file and gathers what is wrong. It works on
// the text of scalars, never on YAML's idea of their type: 02:42:10:00:00:02 is
// a MAC address and not a number of base 60.
type reader struct {
	path      string
	errs      []*Error
	published int // ports so far
}

// fail notes a mistake at a line, once: more than one check may come upon it. where
// names the object, as in "ports.a".
func (r *reader) fail(line int, where, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if where != "" {
		msg = where + ": " + msg
	}
	e := &Error{r.path, line, msg}
	if !slices.ContainsFunc(r.errs, func(o *Error) bool { return *o == *e }) {
		r.errs = append(r.errs, e)
	}
}

// err returns the first mistakes, in the order of the file.
func (r *reader) err() error {
	slices.SortStableFunc(r.errs, func(a, b *Error) int { return a.Line - b.Line })
	errs := make([]error, 0, maxErrors)
	for _, e := range r.errs[:min(len(r.errs), maxErrors)] {
		errs = append(errs, e)
	}
	if n := len(r.errs) - maxErrors; n > 0 {
		errs = append(errs, fmt.Errorf("%s: %d more", r.path, n))
	}
	return errors.Join(errs...)
}

// A field is a key an object may have and what reads its value.
type field struct {
	key  string
	read func(v *yaml.Node, where string)
}

// object reads a mapping with known keys. An empty value is an empty mapping.
func (r *reader) object(n *yaml.Node, where string, fields ...field) {
	r.pairs(n, where, func(k, v *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == k.Value })
		if i < 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.key
			}
			slices.Sort(names)
			r.fail(k.Line, where, "unknown key %q; there are: %s", k.Value, strings.Join(names, ", "))
			return
		}
		fields[i].read(v, join(where, k.Value))
	})
}

// named reads a mapping from names the user chose to objects.
func (r *reader) named(read func(name string, v *yaml.Node, where string)) func(*yaml.Node, string) {
	return func(n *yaml.Node, where string) {
		r.pairs(n, where, func(k, v *yaml.Node) {
			if !plainName(k.Value) {
				r.fail(k.Line, where, "invalid name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, at most 128 characters", k.Value)
				return
			}
			read(k.Value, v, join(where, k.Value))
		})
	}
}

// pairs hands out the keys and values of a mapping, each key once.
func (r *reader) pairs(n *yaml.Node, where string, each func(k, v *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || n.Value == "") {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, where, "expected keys and values, found %s", kindOf(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			r.fail(k.Line, where, "expected a plain key, found %s", kindOf(k))
			continue
		}
		if first, twice := seen[k.Value]; twice {
			r.fail(k.Line, where, "key %q is already on line %d", k.Value, first)
			continue
		}
		seen[k.Value] = k.Line
		each(k, v)
	}
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode, n.Tag == "!!merge":
		return "an alias, which a lab file may not have"
	case n.Value == "":
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}

func join(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

// plainName is Docker's rule for names; it also makes them safe as file names.
func plainName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}
