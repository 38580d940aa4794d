package api

import (
	"strings"
	"testing"
	"time"
)

func TestParseFilters(t *testing.T) {
	for _, c := range []struct {
		name, in string
		key      string
		want     int // values of key
		err      string
	}{
		{"none", "", "name", 0, ""},
		{"empty object", "{}", "name", 0, ""},
		{"today's form", `{"name":{"a":true,"b":true}}`, "name", 2, ""},
		{"switched off", `{"name":{"a":true,"b":false}}`, "name", 1, ""},
		{"old form", `{"name":["a","b","c"]}`, "name", 3, ""},
		{"key without values", `{"name":{}}`, "name", 0, ""},
		{"broken expression is text", `{"name":{"a[":true}}`, "name", 1, ""},
		{"unknown key", `{"nome":{"a":true}}`, "", 0, "invalid filter 'nome': expected one of "},
		{"not an object", `["name"]`, "", 0, "invalid filter: expected"},
		{"not JSON", `name=a`, "", 0, "invalid filter: expected"},
		{"wrong value", `{"name":"a"}`, "", 0, "invalid filter: expected"},
		{"long key", `{"` + strings.Repeat("x", 1000) + `":{}}`, "", 0, "xxx...'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := parseFilters(c.in, "name", "label")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || statusOf(err) != 400 {
					t.Fatalf("error %v, want 400 with %q", err, c.err)
				}
				return
			}
			if err != nil || len(f[c.key]) != c.want {
				t.Errorf("%v, %v; want %d values", f, err, c.want)
			}
		})
	}
}

func TestMatching(t *testing.T) {
	labels := map[string]string{"env": "prod", "empty": ""}
	for _, c := range []struct {
		name, in string
		op       func(filters) bool
		want     bool
	}{
		{"absent key", `{}`, func(f filters) bool {
			return f.match("name", "web") && f.exact("name", "web") && f.labels("label", nil)
		}, true},
		{"part of the name", `{"name":{"we":true}}`, func(f filters) bool { return f.match("name", "web") }, true},
		{"anchored", `{"name":{"^/web$":true}}`, func(f filters) bool { return f.match("name", "web", "/web") }, true},
		{"anchored, other", `{"name":{"^eb$":true}}`, func(f filters) bool { return f.match("name", "web", "/web") }, false},
		{"one of two", `{"name":{"x":true,"web":true}}`, func(f filters) bool { return f.match("name", "web") }, true},
		{"exact is not part", `{"name":{"we":true}}`, func(f filters) bool { return f.exact("name", "web") }, false},
		{"broken expression equals", `{"name":{"a[":true}}`, func(f filters) bool { return f.match("name", "a[") }, true},
		{"label there", `{"label":{"env":true}}`, func(f filters) bool { return f.labels("label", labels) }, true},
		{"label with value", `{"label":{"env=prod":true}}`, func(f filters) bool { return f.labels("label", labels) }, true},
		{"label with other value", `{"label":{"env=dev":true}}`, func(f filters) bool { return f.labels("label", labels) }, false},
		{"label empty value", `{"label":{"empty=":true}}`, func(f filters) bool { return f.labels("label", labels) }, true},
		{"all labels", `{"label":{"env=prod":true,"gone":true}}`, func(f filters) bool { return f.labels("label", labels) }, false},
		{"without label", `{"label":{"gone":true}}`, func(f filters) bool { return f.noLabels("label", labels) }, true},
		{"without, but there", `{"label":{"gone":true,"env":true}}`, func(f filters) bool { return f.noLabels("label", labels) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := parseFilters(c.in, "name", "label")
			if err != nil {
				t.Fatal(err)
			}
			if got := c.op(f); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestUntil(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, c := range []struct {
		in   string
		want time.Time
		ok   bool
	}{
		{`{}`, time.Time{}, true},
		{`{"until":{"1h":true}}`, now.Add(-time.Hour), true},
		{`{"until":{"1600000000":true}}`, time.Unix(1600000000, 0), true},
		{`{"until":{"1600000000.5":true}}`, time.Unix(1600000000, 5e8), true},
		{`{"until":{"1600000000.000000007":true}}`, time.Unix(1600000000, 7), true},
		{`{"until":{"2023-11-14T22:13:20Z":true}}`, now, true},
		{`{"until":{"yesterday":true}}`, time.Time{}, false},
		{`{"until":{"1h":true,"2h":true}}`, time.Time{}, false},
	} {
		f, err := parseFilters(c.in, "until")
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.until(now)
		if (err == nil) != c.ok || c.ok && !got.Equal(c.want) {
			t.Errorf("%s: %v, %v; want %v", c.in, got, err, c.want)
		}
	}
}

func FuzzParseFilters(f *testing.F) {
	for _, s := range []string{"", "{}", `{"name":{"a":true}}`, `{"name":["a"]}`, `{"name":{"a[":true}}`, `{"dangling":{"true":true}}`,
		`{"until":{"1h":true}}`, `{"label":{"a=b":true}}`, `{"name":{"(((((a*)*)*)*)*)":true}}`, `[]`, `{"x":{}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fs, err := parseFilters(s, "name", "label", "dangling", "until")
		if err != nil {
			if statusOf(err) != 400 {
				t.Fatalf("status %d for %q", statusOf(err), s)
			}
			return
		}
		for k := range fs {
			if k != "name" && k != "label" && k != "dangling" && k != "until" {
				t.Fatalf("key %q was let through", k)
			}
		}
		for _, v := range fs["name"] {
			if !fs.exact("name", v.text) || !fs.match("name", v.text) {
				t.Fatalf("%q does not match itself", v.text)
			}
		}
		fs.labels("label", map[string]string{"a": "b"})
		_, _, _ = fs.flag("dangling")
		_, _ = fs.until(time.Unix(0, 0))
	})
}
