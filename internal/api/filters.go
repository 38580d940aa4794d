package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"weft/internal/cnm"
)

// filters is a set of conditions by key. Values of one key are alternatives,
// except labels, which must all hold; keys must all hold.
type filters map[string][]filter

// A filter is one value, compiled as an expression where it is one.
type filter struct {
	text string
	expr *regexp.Regexp // nil when text is not an expression
}

// parseFilters reads the filters of a request, in the form of today,
// {"key":{"value":true}}, or of Docker before 1.10, {"key":["value"]}. Only
// the keys accepted may occur.
func parseFilters(s string, accepted ...string) (filters, error) {
	if s == "" {
		return filters{}, nil
	}
	var now map[string]map[string]bool
	var old map[string][]string
	if json.Unmarshal([]byte(s), &now) != nil {
		now = nil // it may be half filled
		if json.Unmarshal([]byte(s), &old) != nil {
			return nil, cnm.Errorf(cnm.Invalid, "invalid filter: expected a JSON object of objects, got %s", clip(s))
		}
	}
	for k, vs := range now {
		old = insert(old, k, vs)
	}
	f := filters{}
	for k, vs := range old {
		if !slices.Contains(accepted, k) {
			return nil, cnm.Errorf(cnm.Invalid, "invalid filter '%s': expected one of %s", clip(k), strings.Join(accepted, ", "))
		}
		for _, v := range vs {
			expr, _ := regexp.Compile(v) // not an expression: compared as text
			f[k] = append(f[k], filter{v, expr})
		}
	}
	return f, nil
}

func requestFilters(r *http.Request, accepted ...string) (filters, error) {
	return parseFilters(r.URL.Query().Get("filters"), accepted...)
}

func insert(m map[string][]string, k string, vs map[string]bool) map[string][]string {
	if m == nil {
		m = map[string][]string{}
	}
	m[k] = nil
	for v, on := range vs {
		if on {
			m[k] = append(m[k], v)
		}
	}
	return m
}

// clip bounds what an error message repeats of a client's words.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// has reports whether the key was given.
func (f filters) has(key string) bool { return len(f[key]) > 0 }

// exact reports whether one of the sources is one of the values, or the key
// was not given.
func (f filters) exact(key string, sources ...string) bool {
	for _, v := range f[key] {
		if slices.Contains(sources, v.text) {
			return true
		}
	}
	return !f.has(key)
}

// match reports whether one of the values is equal to one of the sources or an
// expression found in it, or the key was not given.
func (f filters) match(key string, sources ...string) bool {
	for _, v := range f[key] {
		for _, s := range sources {
			if v.text == s || v.expr != nil && v.expr.MatchString(s) {
				return true
			}
		}
	}
	return !f.has(key)
}

// prefix reports whether the source begins with one of the values, or the key
// was not given.
func (f filters) prefix(key, source string) bool {
	for _, v := range f[key] {
		if strings.HasPrefix(source, v.text) {
			return true
		}
	}
	return !f.has(key)
}

// labels reports whether every value, name or name=value, is among the labels.
func (f filters) labels(key string, labels map[string]string) bool {
	for _, v := range f[key] {
		if !hasLabel(labels, v.text) {
			return false
		}
	}
	return true
}

// noLabels reports whether no value, name or name=value, is among the labels.
func (f filters) noLabels(key string, labels map[string]string) bool {
	for _, v := range f[key] {
		if hasLabel(labels, v.text) {
			return false
		}
	}
	return true
}

func hasLabel(labels map[string]string, want string) bool {
	name, value, valued := strings.Cut(want, "=")
	got, ok := labels[name]
	return ok && (!valued || got == value)
}

// flag reads a key whose values are booleans.
func (f filters) flag(key string) (value, given bool, err error) {
	for _, v := range f[key] {
		switch strings.ToLower(v.text) {
		case "1", "true":
			value = true
		case "0", "false":
			value = false
		default:
			return false, true, cnm.Errorf(cnm.Invalid, "invalid filter '%s=%s': expected true or false", key, clip(v.text))
		}
	}
	if len(f[key]) > 1 {
		return false, true, cnm.Errorf(cnm.Invalid, "invalid filter '%s': given more than once", key)
	}
	return value, f.has(key), nil
}

// until reads the key of the same name: a point in time, or how long before
// now. The zero time means it was not given.
func (f filters) until(now time.Time) (time.Time, error) {
	switch len(f["until"]) {
	case 0:
		return time.Time{}, nil
	case 1:
	default:
		return time.Time{}, cnm.Errorf(cnm.Invalid, "more than one until filter specified")
	}
	text := f["until"][0].text
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return parseTime("until", text)
}
