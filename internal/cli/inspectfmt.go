package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// An inspected object: typed for templates that use Go field names, raw for
// everything else, as Docker does.
type inspected struct {
	typed any
	raw   json.RawMessage
}

// printInspected writes objects as one indented JSON array, or each through a
// template.
func printInspected(w io.Writer, format string, objects []inspected) error {
	switch format {
	case "":
		return printArray(w, objects)
	case "json":
		format = "{{json .}}"
	}
	t, err := parseTemplate(format, rowFuncs())
	if err != nil {
		return err
	}
	for _, o := range objects {
		var b bytes.Buffer
		if err := t.Execute(&b, o.typed); err != nil {
			// Second try over the JSON's own names: {{.IPAM.Config}} is a field,
			// {{.Id}} only a key.
			var m any
			if json.Unmarshal(o.raw, &m) != nil {
				return templateError(err)
			}
			b.Reset()
			if rawErr := t.Execute(&b, m); rawErr != nil {
				return templateError(err)
			}
		}
		fmt.Fprintln(w, b.String())
	}
	return nil
}

func printArray(w io.Writer, objects []inspected) error {
	raws := make([]json.RawMessage, 0, len(objects))
	for _, o := range objects {
		raws = append(raws, o.raw)
	}
	b, err := json.Marshal(raws)
	if err != nil {
		return fmt.Errorf("the daemon's answer is not JSON: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "    "); err != nil {
		return fmt.Errorf("the daemon's answer is not JSON: %w", err)
	}
	fmt.Fprintln(w, out.String())
	return nil
}
