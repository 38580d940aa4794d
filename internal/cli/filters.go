package cli

import (
	"fmt"
	"strings"

	"github.com/moby/moby/client"
)

// filterFlag is --filter KEY=VALUE, repeatable, for the API's filters.
type filterFlag struct{ f client.Filters }

// String shows the value so far.
func (f *filterFlag) String() string {
	if len(f.f) == 0 {
		return ""
	}
	return fmt.Sprint(map[string]map[string]bool(f.f))
}

// Set adds one filter.
func (f *filterFlag) Set(s string) error {
	k, v, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%q is not a filter, expected KEY=VALUE such as name=web", s)
	}
	neg := strings.HasSuffix(k, "!") // label!=x: prune's "not this label"
	k = strings.ToLower(strings.TrimSpace(strings.TrimSuffix(k, "!")))
	if neg {
		k += "!"
	}
	if f.f == nil {
		f.f = make(client.Filters)
	}
	f.f.Add(k, strings.TrimSpace(v))
	return nil
}

// Type names the value in help texts.
func (f *filterFlag) Type() string { return "filter" }

// mapFlag is a repeatable KEY=VALUE flag. A key alone has an empty value.
type mapFlag struct {
	m    map[string]string
	need bool // the "=" is needed
	once bool // a key is given once
}

// String shows the value so far.
func (f *mapFlag) String() string {
	if len(f.m) == 0 {
		return ""
	}
	return labelSet(f.m).String()
}

// Set adds one pair; a later one replaces an earlier one, unless that is refused.
func (f *mapFlag) Set(s string) error {
	k, v, ok := strings.Cut(s, "=")
	k = strings.TrimSpace(k)
	if k == "" || (f.need && !ok) {
		return fmt.Errorf("%q is not KEY=VALUE", s)
	}
	if f.m == nil {
		f.m = make(map[string]string)
	}
	if _, given := f.m[k]; given && f.once {
		return fmt.Errorf("%s= was given already", k)
	}
	f.m[k] = v
	return nil
}

// Type names the value in help texts.
func (f *mapFlag) Type() string { return "map" }
