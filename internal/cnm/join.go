package cnm

import "strings"

// problems collects what is wrong with one request, so that a user sees all of
// it at once.
type problems []error

func (p *problems) add(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

// join returns one error of the kind under a headline, in Docker's layout: a
// single problem on the second line, several as a list of stars.
func (p problems) join(k Kind, headline string) error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return Errorf(k, "%s\n%w", headline, p[0])
	}
	var b strings.Builder
	b.WriteString(headline)
	for _, err := range p {
		b.WriteString("\n* ")
		b.WriteString(strings.ReplaceAll(err.Error(), "\n", "\n\t"))
	}
	return Errorf(k, "%s", b.String())
}
