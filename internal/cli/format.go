package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
)

// A record is one row of a listing: values by Docker's field names, which are
// what a --format template sees and what `--format json` prints.
type record map[string]any

// Label gives one label to a template: {{.Label "env"}}.
func (r record) Label(name string) string {
	l, _ := r["Labels"].(labelSet)
	return l[name]
}

// headings are a record's column titles. As Docker does, a header line is the
// row's template executed over them.
type headings map[string]string

// Label titles a column made by {{.Label "com.example.env"}}: "env".
func (h headings) Label(name string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.NewReplacer("-", " ", "_", " ").Replace(last)
}

// A labelSet prints as Docker prints labels: k=v,k=v in order of keys.
type labelSet map[string]string

// String joins the labels.
func (l labelSet) String() string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(l)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k + "=" + l[k])
	}
	return b.String()
}

// MarshalText makes JSON listings show labels as the same one string.
func (l labelSet) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A listing is how one kind of row is printed.
type listing struct {
	headings headings
	table    string // default columns, fields joined by tabs
	quiet    string // template under -q
}

// print writes rows in the format asked for: "" or "table" (the default
// columns), "table TEMPLATE", "json" (one object per line) or TEMPLATE.
func (l listing) print(w io.Writer, format string, quiet bool, rows []record) error {
	asTable := false
	switch {
	case quiet && (format == "" || format == "table"):
		format = l.quiet
	case format == "json":
		format = "{{json .}}"
	case format == "" || format == "table":
		asTable, format = true, l.table
	case strings.HasPrefix(format, "table "):
		asTable, format = true, strings.TrimPrefix(format, "table ")
	}
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
	t, err := parseTemplate(format, rowFuncs())
	if err != nil {
		return err
	}
	if !asTable {
		return executeRows(w, t, rows)
	}
	head, err := parseTemplate(format, headerFuncs())
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	if err := head.Execute(tw, l.headings); err != nil {
		return templateError(err)
	}
	fmt.Fprintln(tw)
	if err := executeRows(tw, t, rows); err != nil {
		return err
	}
	return tw.Flush()
}

func executeRows(w io.Writer, t *template.Template, rows []record) error {
	var b bytes.Buffer
	for _, r := range rows {
		b.Reset()
		if err := t.Execute(&b, r); err != nil {
			return templateError(err)
		}
		b.WriteByte('\n')
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func parseTemplate(format string, funcs template.FuncMap) (*template.Template, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(funcs).Parse(format)
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("--format is not a template: %w", trimTemplate(err))}
	}
	return t, nil
}

func templateError(err error) error {
	return &usageError{err: fmt.Errorf("--format cannot be applied: %w", trimTemplate(err))}
}

// trimTemplate drops the empty template name from text/template's messages.
func trimTemplate(err error) error {
	msg := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "template: "), ":")
	msg = strings.Replace(msg, `executing "" at `, "", 1)
	if head, _, ok := strings.Cut(msg, " in type "); ok { // a type of this program
		msg = head
	}
	return errors.New(msg)
}

// rowFuncs are the functions Docker's templates have.
func rowFuncs() template.FuncMap {
	return template.FuncMap{
		"json":     toJSON,
		"split":    strings.Split,
		"join":     joinAny,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// headerFuncs leave a heading as it is, whatever the row's template does.
func headerFuncs() template.FuncMap {
	same := func(v any, _ ...any) any { return v }
	return template.FuncMap{
		"json": same, "split": same, "join": same, "title": same, "lower": same, "upper": same, "pad": same,
		"truncate": same,
	}
}

func toJSON(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}

func joinAny(elems any, sep string) string {
	switch v := elems.(type) {
	case []string:
		return strings.Join(v, sep)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = fmt.Sprint(e)
		}
		return strings.Join(parts, sep)
	}
	return fmt.Sprint(elems)
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
}

func truncate(s string, n int) string {
	if len(s) < n {
		return s
	}
	return s[:n]
}
