package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A choice is the value of a flag that is one of some words, which the shell offers.
type choice struct {
	word  string
	words []string
}

// choose adds a flag that is one of some words; none of them is chosen yet unless
// first is one.
func choose(c *cobra.Command, name, first, help string, words ...string) *choice {
	v := &choice{first, words}
	c.Flags().Var(v, name, help)
	return v
}

// String returns the word that was chosen.
func (v *choice) String() string { return v.word }

// Type names the value in help texts.
func (v *choice) Type() string { return strings.Join(v.words, "|") }

// Set takes one of the words.
func (v *choice) Set(s string) error {
	if !slices.Contains(v.words, s) {
		last := len(v.words) - 1
		return fmt.Errorf("expected %s or %s", strings.Join(v.words[:last], ", "), v.words[last])
	}
	v.word = s
	return nil
}
